"""torch.compile: when it pays, and what happens where it fails."""

import logging

import torch
from torch import nn

from flowerml.errors import one_line

logger = logging.getLogger(__name__)

_PAYS_S = 30 * 60.0  # of eager training that is left


def compile_pays(seconds_left: float) -> bool:
    """Whether compiling saves more time than it takes: minutes, once.

    Half an hour is an estimate, on the safe side: at 10 % a step it wins three minutes back. `make gpu` measures both
    kinds of steps on a card.
    """
    return seconds_left > _PAYS_S


def warn_of_failure(error: Exception) -> None:
    """Log that compilation failed, and what it needs."""
    reason = one_line((str(error).strip() or type(error).__name__).splitlines()[0])
    logger.warning(
        f"--compile: torch.compile fails here ({reason}): going on without it. It needs a C++ compiler (g++ or clang)"
        " on a CPU, Triton on a GPU"
    )


def compiled(model: nn.Module) -> nn.Module | None:
    """The compiled model, None where that fails. What is called first compiles; this only prepares it."""
    try:
        return torch.compile(model)  # type: ignore[return-value] # a callable module
    except Exception as error:  # a Python or a system that it does not support
        warn_of_failure(error)
        return None
