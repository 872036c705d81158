"""Pretrained weights from a file: read without executing code, matched strictly except for the head."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from flowerml.errors import UserError
from flowerml.files import missing_reason

Tensors = dict[str, torch.Tensor]
_STATE_DICT_KEYS = ("state_dict_ema", "state_dict", "model_ema", "model")
_NAME_PREFIXES = ("module.", "_orig_mod.", "backbone.")  # of DataParallel, torch.compile, our own checkpoints
_OWN_HEAD = ("head.weight", "head.bias")


def require_weights_file(path: Path) -> Path:
    """`path`, if it is a file. Raises UserError otherwise."""
    if reason := missing_reason(path):
        raise UserError(f"--weights {path}: {reason}. Allowed: hub, none, or the path of a .safetensors or .pth file")
    return path


def read_state_dict(path: Path) -> Tensors:
    """The tensors of a `.safetensors`, `.pth`, `.pt` or `.bin` file, unwrapped from the usual nesting and prefixes.

    Raises:
        UserError: missing, damaged, or not plain tensors (it is never unpickled).
    """
    require_weights_file(path)
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
    except Exception as error:  # torch's message for a refused pickle advises weights_only=False
        raise UserError(
            f"--weights {path}: not a file of plain tensors: refused, as such a file can run code. Give a .safetensors"
        ) from error
    for key in _STATE_DICT_KEYS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise UserError(f"--weights {path}: holds no state dict (a mapping from names to tensors)")
    return {_strip_wrappers(name): tensor for name, tensor in loaded.items()}


def load_backbone(
    backbone: nn.Module, state: Mapping[str, torch.Tensor], path: Path, head: tuple[str, ...]
) -> list[str]:
    """Load `state` into `backbone`, strictly: every key with its shape. Returns the unused keys of the file.

    `head` are the prefixes of keys that may be unused (a classifier, a text tower).

    Raises:
        UserError: a missing key, an unexpected key, or a shape mismatch (names the key and both shapes).
    """
    expected = backbone.state_dict()
    mapped, unused = _match_names(state, expected)
    missing = [name for name in expected if name not in mapped]
    if missing:
        raise UserError(
            f"--weights {path}: {len(missing)} of {len(expected)} tensors of this model are not in the file, the first"
            f" is {missing[0]!r}: the file belongs to another model"
        )
    for name, tensor in mapped.items():
        if tensor.shape != expected[name].shape:
            raise UserError(
                f"--weights {path}: {name} is {tuple(tensor.shape)} in the file and {tuple(expected[name].shape)} in"
                " the model"
            )
    unexpected = [name for name in unused if not _tower_name(name).startswith((*head, *_OWN_HEAD))]
    if unexpected:
        raise UserError(
            f"--weights {path}: {len(unexpected)} tensors have no place in this model, the first is {unexpected[0]!r}"
        )
    backbone.load_state_dict(mapped)
    return unused


def _match_names(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> tuple[Tensors, list[str]]:
    """The tensors by the backbone's names, and the file's unused names."""
    mapped: Tensors = {}
    unused: list[str] = []
    # In a full CLIP only keys under `visual.` are the image tower: the text tower has keys of the same names.
    is_clip = any(name.startswith("visual.") for name in state)
    for name, tensor in state.items():
        tower_name = _tower_name(name)
        if tower_name in expected and (not is_clip or name.startswith("visual.")):
            mapped[tower_name] = tensor
        else:
            unused.append(name)
    return mapped, unused


def _tower_name(name: str) -> str:
    """The name without the `visual.` prefix of a full CLIP."""
    return name.removeprefix("visual.")


def _strip_wrappers(name: str) -> str:
    for prefix in _NAME_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
