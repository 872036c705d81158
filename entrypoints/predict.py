"""`python entrypoints/predict.py …`: the same as `flowerml predict …`, from a checkout."""

import _start

_start.command("predict")
