"""`python entrypoints/explain.py …`: the same as `flowerml explain …`, from a checkout."""

import _start

_start.command("explain")
