"""What every builder returns, and fetching published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.models.layer_groups import Stages
from flowerml.models.weights import State
from flowerml.settings import ModelSpec

_REMEDIES = (
    "give the weights as a file (--weights PATH), fill this machine's cache on one with a network, or start from"
    " scratch (--weights none)"
)


class UnknownModel(UserError):
    """The library has no such architecture, or no such weights of it. The message begins with the model's name."""


@dataclass(frozen=True)
class Backbone:
    """A backbone giving pooled features (N, `features`), what it wants to see, and its parameter names from the input
    up.
    """

    module: nn.Module
    features: int
    description: InputDescription
    stages: Stages
    head_keys: tuple[str, ...]
    resize: Callable[[State], State] = field(default=lambda state: state)

    def described(self, overrides: Mapping[str, Any] | None) -> InputDescription:
        """What it wants to see, but for what the user has set (mean, std, interpolation, crop_pct); None leaves the
        model's own.
        """
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        return replace(self.description, **given)


def from_hub(spec: ModelSpec, make: Callable[[], Any], *, hub: bool) -> Any:  # noqa: ANN401 - timm's or open_clip's model
    """Call `make`; where it was to fetch weights and could not, say what to do instead of starting from random ones."""
    if not hub:
        return make()
    try:
        return make()
    except TypeError:
        raise
    except Exception as error:  # whatever a network, a proxy, a cache or a hub's client may raise
        cause = (str(error) or type(error).__name__).splitlines()[0][:140]
        raise UserError(f"the pretrained weights of {spec.name} can't be fetched ({cause}): {_REMEDIES}") from error
