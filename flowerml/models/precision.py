"""What a GPU computes in TF32 (10 bits of mantissa) instead of fp32: nothing for figures that are kept.

By default torch takes it for convolutions, not for matrix products
(https://pytorch.org/docs/stable/notes/cuda.html).
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


@contextmanager
def training_precision(tf32: str, device: torch.device) -> Iterator[None]:
    """Context of a training: what a GPU computes in TF32 (values of the setting `tf32`); `plain_fp32` goes inside it.

    It sets `allow_tf32`, which sets `fp32_precision` too: the compiler reads both, and raises where they differ.
    """
    if device.type != "cuda":
        yield
        return
    backends: tuple[tuple[Any, bool], ...] = (
        (torch.backends.cudnn, tf32 != "off"),
        (torch.backends.cuda.matmul, tf32 == "on"),
    )
    before = [backend.allow_tf32 for backend, _ in backends]
    for backend, allowed in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for (backend, _), allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
