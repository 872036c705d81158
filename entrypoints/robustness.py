"""`python entrypoints/robustness.py …`: the same as `flowerml robustness …`, from a checkout."""

import _start

_start.command("robustness")
