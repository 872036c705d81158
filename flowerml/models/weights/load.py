"""Pretrained weights from a file into a backbone: matched strictly except for the head."""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import nn

from flowerml.errors import UserError
from flowerml.models.weights.file import read_weights_file, require_weights_file
from flowerml.models.weights.state_dict import Tensors, guesses, match, state_dicts, strip_wrappers

__all__ = ["Tensors", "load_backbone", "require_weights_file"]

_OWN_HEAD = ("head.weight", "head.bias")
# What self-supervised trainings have beside the backbone in one flat file (MAE, SimMIM, BEiT).
_PRETRAINING = ("mask_token", "decoder_", "decoder.", "lm_head", "projector", "predictor")

_POSITIONS = re.compile(r"pos_embed|attention_bias|rel_pos|mlp_tokens")  # tensors that depend on the image size


def load_backbone(
    backbone: nn.Module, path: Path, head: tuple[str, ...], adapt: Callable[[Tensors], Tensors]
) -> list[str]:
    """Load a file into `backbone`, strictly: every key with its shape. Returns the unused keys of the file.

    The state dict may lie under any key and any prefix; averaged weights (EMA) come first where they are whole. `head`
    are the prefixes of keys that may be unused (a classifier, a text tower). `adapt` maps another repository's names to
    the backbone's, and position embeddings to its image size; it is not called for a file that fits as it is.

    Raises:
        UserError: an unreadable file, a missing key, an unexpected key, or a shape mismatch (names the key and both
            shapes).
    """
    content = read_weights_file(path)
    if not state_dicts(content):
        raise UserError(f"--weights {path}: holds no state dict (a mapping from names to tensors)")
    expected = backbone.state_dict()
    state, others = _fit(content, expected, adapt)
    own = {name: tensor for name, tensor in state.items() if name in expected}
    _check_match(own, expected, path)
    unused = [name for name in state if name not in expected]
    unexpected = [name for name in unused if not name.startswith((*head, *_OWN_HEAD, *_PRETRAINING))]
    if unexpected:
        raise UserError(
            f"--weights {path}: {len(unexpected)} tensors have no place in this model, the first is {unexpected[0]!r}"
        )
    backbone.load_state_dict(own)
    return [*unused, *others]


def _fit(content: object, expected: Tensors, adapt: Callable[[Tensors], Tensors]) -> tuple[Tensors, Collection[str]]:
    """The tensors by the backbone's names as far as they can be found, and the names of others in the file."""
    found = match(content, expected)
    if found is not None:
        named = _bare_names(found.tensors, expected)
        if all(named[name].shape == tensor.shape for name, tensor in expected.items()):
            return named, found.others
        adapted = _adapted(named, adapt)
        return (adapted if expected.keys() <= adapted.keys() else named), found.others
    nearest: Tensors = {}
    for guess in guesses(content, expected):
        for state in (guess, _adapted(guess, adapt)):
            again = match(state, expected)
            if again is not None:
                return _bare_names(again.tensors, expected), again.others
            if len(expected.keys() & state.keys()) > len(expected.keys() & nearest.keys()) or not nearest:
                nearest = state
    return _bare_names(nearest, expected), ()


def _adapted(state: Tensors, adapt: Callable[[Tensors], Tensors]) -> Tensors:
    try:
        return adapt(dict(state))
    except Exception:  # a filter of timm may raise anything on a file it does not know; what is missing is told later
        return state


def _bare_names(state: Tensors, expected: Collection[str]) -> Tensors:
    """The tensors, those that are not the backbone's without the prefixes of wrappers: our own checkpoints' heads."""
    bare = {name: name if name in expected else strip_wrappers(name) for name in state}
    return {(name if bare[name] in state else bare[name]): tensor for name, tensor in state.items()}


def _check_match(own: Tensors, expected: Mapping[str, object], path: Path) -> None:
    """Raises UserError for the first missing tensor, or one of another shape."""
    missing = [name for name in expected if name not in own]
    if missing:
        raise UserError(
            f"--weights {path}: {len(missing)} of {len(expected)} tensors of this model are not in the file, the first"
            f" is {missing[0]!r}: the file belongs to another model"
        )
    for name, tensor in own.items():
        wanted = getattr(expected[name], "shape", None)
        if tensor.shape != wanted:
            raise UserError(
                f"--weights {path}: {name} is {tuple(tensor.shape)} in the file and {tuple(wanted or ())} in the model"
                + (": take the --img-size that the file was trained at" if _POSITIONS.search(name) else "")
            )
