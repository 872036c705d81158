"""`python entrypoints/compare.py …`: the same as `flowerml compare …`, from a checkout."""

import _start

_start.command("compare")
