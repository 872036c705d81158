"""`python entrypoints/export.py …`: the same as `flowerml export …`, from a checkout."""

import _start

_start.command("export")
