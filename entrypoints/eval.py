"""`python entrypoints/eval.py …`: the same as `flowerml eval …`, from a checkout."""

import _start

_start.command("eval")
