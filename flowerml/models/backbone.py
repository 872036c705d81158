"""What every backbone builder returns, and the download of published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.models.layer_groups import LayerGroups
from flowerml.models.weights.state_dict import Tensors
from flowerml.settings import ModelSpec

_REMEDIES = (
    "give the weights as a file (--weights PATH), fill this machine's cache on one with a network, or start from"
    " scratch (--weights none)"
)


class UnknownModel(UserError):
    """The library has no such architecture, or no such weights of it. The message starts with the model's name."""


@dataclass(frozen=True)
class Backbone:
    """A backbone for pooled features (N, `features`), its input description and its layer groups.

    `layer_groups` are the parameter names from the input up. `head_keys` are prefixes of keys that a weights file may
    hold besides the backbone. `adapt` maps another repository's names to the backbone's, and position embeddings to
    this image size.
    """

    module: nn.Module
    features: int
    description: InputDescription
    layer_groups: LayerGroups
    head_keys: tuple[str, ...]
    adapt: Callable[[Tensors], Tensors] = field(default=lambda state: state)

    def describe_inputs(self, overrides: Mapping[str, Any] | None) -> InputDescription:
        """The input description with `overrides` (mean, std, interpolation, crop_pct); None keeps the model's own."""
        changes = {name: value for name, value in (overrides or {}).items() if value is not None}
        return replace(self.description, **changes)


def create_from_hub(spec: ModelSpec, make: Callable[[], Any], *, hub: bool) -> Any:  # noqa: ANN401 - timm's or open_clip's model
    """Call `make`; never fall back to random weights when a download fails.

    Raises:
        UserError: the weights can't be fetched; the message lists the remedies.
    """
    if not hub:
        return make()
    from flowerml.models.weights.hub import ask_hub  # the hub's client is for those who ask a hub

    made, failure = ask_hub(make)
    if isinstance(made, TypeError):
        raise made
    if isinstance(made, Exception):
        cause = str(failure or made) or type(made).__name__
        message = f"the pretrained weights of {spec.name} can't be fetched ({cause.splitlines()[0][:300]})"
        raise UserError(f"{message}: {_REMEDIES}") from made
    return made
