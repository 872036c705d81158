"""`python entrypoints/sync.py …`: the same as `flowerml sync …`, from a checkout."""

import _start

_start.command("sync")
