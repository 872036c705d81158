"""`python entrypoints/reap.py …`: the same as `flowerml reap …`, from a checkout."""

import _start

_start.command("reap")
