"""Pretrained weights from a file: read without executing it, matched strictly except for the head."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from flowerml.errors import UserError
from flowerml.files import missing_reason

State = dict[str, torch.Tensor]
_WRAPPERS = ("state_dict_ema", "state_dict", "model_ema", "model")
_WRAPPED_BY = (
    "module.",
    "_orig_mod.",
    "backbone.",
)  # put before every name by DataParallel, torch.compile, our own checkpoints
_OWN_HEAD = ("head.weight", "head.bias")


def require_file(path: Path) -> Path:
    """`path`, if it is a file. Raises UserError otherwise."""
    if reason := missing_reason(path):
        raise UserError(f"--weights {path}: {reason}. Allowed: hub, none, or the path of a .safetensors or .pth file")
    return path


def read_state(path: Path) -> State:
    """The tensors of a `.safetensors`, `.pth`, `.pt` or `.bin` file, out of the usual wrappers.

    Raises:
        UserError: missing, damaged, or not plain tensors (it is never unpickled).
    """
    require_file(path)
    if path.stat().st_size == 0:
        raise UserError(f"--weights {path}: can't be read (the file is empty)")
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, ImportError) as error:
        raise UserError(f"--weights {path}: can't be read ({_first_line(error)})") from error
    except Exception as error:  # torch's own words for what its unpickler refuses advise to switch that protection off
        raise UserError(
            f"--weights {path}: not a file of plain tensors: refused, as such a file can run code. Give a .safetensors"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise UserError(f"--weights {path}: holds no state dict (a mapping from names to tensors)")
    return {_unwrapped(name): tensor for name, tensor in loaded.items()}


def load_backbone(
    backbone: nn.Module, state: Mapping[str, torch.Tensor], path: Path, head: tuple[str, ...]
) -> list[str]:
    """Load `state` into `backbone`; every backbone key must be there with its shape. Returns the keys of the file that
    were not used.

    `head` are the prefixes of keys that may be left over (a classifier, a text tower).

    Raises:
        UserError: names a missing, a surplus or a misshapen key, with both shapes.
    """
    wanted = backbone.state_dict()
    mapped, surplus = _align(state, wanted)
    missing = [name for name in wanted if name not in mapped]
    if missing:
        raise UserError(
            f"--weights {path}: {len(missing)} of {len(wanted)} tensors of this model are not in the file, the first is"
            f" {missing[0]!r}: the file belongs to another model"
        )
    for name, tensor in mapped.items():
        if tensor.shape != wanted[name].shape:
            raise UserError(
                f"--weights {path}: {name} is {tuple(tensor.shape)} in the file and {tuple(wanted[name].shape)} in the"
                " model"
            )
    foreign = [name for name in surplus if not _plain(name).startswith((*head, *_OWN_HEAD))]
    if foreign:
        raise UserError(
            f"--weights {path}: {len(foreign)} tensors have no place in this model, the first is {foreign[0]!r}"
        )
    backbone.load_state_dict(mapped)
    return surplus


def _align(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> tuple[State, list[str]]:
    """Tensors by the backbone's names, and the file's names that are none of them."""
    mapped: State = {}
    surplus: list[str] = []
    # In a whole CLIP, only what stands under `visual.` is the image tower: its text tower has keys of the same names.
    tower = any(name.startswith("visual.") for name in state)
    for name, tensor in state.items():
        plain = _plain(name)
        if plain in wanted and (not tower or name.startswith("visual.")):
            mapped[plain] = tensor
        else:
            surplus.append(name)
    return mapped, surplus


def _plain(name: str) -> str:
    """A name as the image tower has it; in a whole CLIP it stands under `visual.`."""
    return name.removeprefix("visual.")


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPED_BY:
        name = name.removeprefix(prefix)
    return name


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
