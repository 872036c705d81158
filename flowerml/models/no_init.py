"""Build a model on the device "meta" without drawing its first weights, which have no values there."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

# What timm, open_clip and torch.nn.init fill tensors with. On "meta" each of them is a chain of Python functions that
# computes shapes: nine tenths of the time that a model takes to be built.
_FILLS = {
    *(torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.erfinv_, torch.Tensor.fill_, torch.Tensor.zero_),
    *(torch.Tensor.mul_, torch.Tensor.add_, torch.Tensor.clamp_),
    *(init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_),
}


class NoInitialValues(TorchFunctionMode):
    """Context in which tensors of the device "meta" are not filled in place; all others are."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever `func` returns
        """Call `func`, unless it fills its first argument and that has no values."""
        kwargs = kwargs or {}
        if func in _FILLS:
            filled = args[0] if args else kwargs["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)
