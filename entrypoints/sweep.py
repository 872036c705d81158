"""`python entrypoints/sweep.py …`: the same as `flowerml sweep …`, from a checkout."""

import _start

_start.command("sweep")
