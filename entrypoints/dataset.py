"""`python entrypoints/dataset.py …`: the same as `flowerml dataset …`, from a checkout."""

import _start

_start.command("dataset")
