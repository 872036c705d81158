"""`python entrypoints/train.py …`: the same as `flowerml train …`, from a checkout."""

import _start

_start.command("train")
