"""Plain fp32 on a GPU: neither convolutions nor matrix products in TF32, which has 10 bits of mantissa.

cuDNN takes TF32 for fp32 convolutions by default (https://pytorch.org/docs/stable/notes/cuda.html).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def plain_fp32() -> Iterator[None]:
    """Context or decorator: fp32 is computed as IEEE fp32, so that a GPU gives a CPU's figures within rounding."""
    cudnn: Any = torch.backends.cudnn  # its `conv` is missing in torch's own types
    backends = (cudnn.conv, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
