"""`python entrypoints/combine.py …`: the same as `flowerml combine …`, from a checkout."""

import _start

_start.command("combine")
