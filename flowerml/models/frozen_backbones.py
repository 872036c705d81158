"""The backbone of the linear probe that this process built last, for the next one.

A sweep's worker trains one head after another on it. Building and digesting a CLIP ViT-B/16 takes longer than training
a head on features.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn

from flowerml.models.backbone import Backbone

_Value = TypeVar("_Value")


@dataclass
class _Kept:
    """A backbone, the unused keys of its weights file, and torch's generator before and after it was built."""

    key: Hashable
    backbone: Backbone
    unused: tuple[str, ...]
    generator_before: torch.Tensor
    generator_after: torch.Tensor
    values: dict[str, object] = field(default_factory=dict)


_last: _Kept | None = None  # one: each may take gigabytes


def get(key: Hashable, build: Callable[[], tuple[Backbone, tuple[str, ...]]]) -> tuple[Backbone, tuple[str, ...]]:
    """The backbone and unused keys that `build` returns, or returned last time for the same `key`.

    Nobody may change its tensors. torch's generator is left as `build` leaves it, so a head that is drawn next is the
    same in both cases; another state before, that is another seed, builds anew.
    """
    global _last  # noqa: PLW0603 - of the process, like the modules that torch keeps
    before = torch.get_rng_state()
    if _last is not None and _last.key == key and torch.equal(_last.generator_before, before):
        torch.set_rng_state(_last.generator_after)
        _last.backbone.module.cpu()  # where a new one is; the run before may have moved it to a GPU
    else:
        _last = None  # before the next one takes its memory
        backbone, unused = build()
        _last = _Kept(key, backbone, unused, before, torch.get_rng_state())
    return _last.backbone, _last.unused


def remember(module: nn.Module, name: str, compute: Callable[[], _Value]) -> _Value:
    """What `compute` returns for a backbone, computed once if `get` returned it; for any other module every time."""
    if _last is None or _last.backbone.module is not module:
        return compute()
    if name not in _last.values:
        _last.values[name] = compute()
    value: _Value = _last.values[name]  # type: ignore[assignment] # under this name `compute` gave it
    return value
