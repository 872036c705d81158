"""Find the state dict of a backbone in what trainers save: nested under their keys, and with their prefixes."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
_WRAPPERS = ("module.", "_orig_mod.", "backbone.")  # of DataParallel, torch.compile, our own checkpoints
_MORE_WRAPPERS = (*_WRAPPERS, "model.", "net.", "network.", "encoder.", "trunk.", "student.", "teacher.", "ema_model.")
_AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged?|swa)([._]|$)|_ema\b|(^|[._])ema_", re.IGNORECASE)
_USUAL_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "module", "student", "params", "weights")
_OTHER_STATE = re.compile(r"optim|sched|scaler", re.IGNORECASE)  # nested tensors that are no weights
_NO_WEIGHT = ("n_averaged",)  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True)
class StateDict:
    """Tensors by the model's names, and the names of other tensors beside them (a head, a second model).

    `source` says where in the file they are, for people: `state_dict_ema: module.`.
    """

    tensors: Tensors
    others: tuple[str, ...] = ()
    source: str = ""


def state_dicts(content: object) -> list[tuple[str, Tensors]]:
    """Every mapping from names to tensors in `content`, with its path of keys; averaged weights first, then usual keys.

    Of nested mappings each level counts, with the names below it joined by dots. States of optimizers, schedulers and
    scalers are left out.
    """
    found = [(".".join(path), tensors) for path, node in _mappings(content) if (tensors := _flatten(node))]
    return sorted(found, key=lambda one: (_rank(one[0]), -one[0].count(".")))


def match(content: object, expected: Collection[str]) -> StateDict | None:
    """The state dict that has all `expected` names, under whatever prefix they share; None if there is none.

    Of several, averaged weights (EMA, a teacher) come first. Without a prefix all tensors are of the model, and none is
    an `other`.
    """
    whole = []
    for path, tensors in state_dicts(content):
        for prefix, count in _prefixes(tensors, expected).items():
            if count == len(expected):
                whole.append((_rank(f"{path}.{prefix}"), len(prefix), path, prefix, tensors))
    if not whole:
        return None
    _, _, path, prefix, tensors = min(whole, key=lambda one: one[:2])
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    copies = {other for _, _, place, other, _ in whole if place == path and other != prefix}
    others = [name for name in tensors if not name.startswith((prefix, *copies))] if prefix else []
    return StateDict(own, tuple(strip_wrappers(name) for name in others), ": ".join(filter(None, (path, prefix))))


def guesses(content: object, expected: Collection[str]) -> Iterator[Tensors]:
    """State dicts that lack names of the model, or have those of an original repository, with fewer prefixes each.

    Without the prefix behind which most names are the model's; without the wrappers of trainers, stripped until nothing
    changes; without what all names share.
    """
    for _, tensors in state_dicts(content):
        if counts := _prefixes(tensors, expected):
            prefix = counts.most_common(1)[0][0]
            yield {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        yield _renamed(tensors, strip_wrappers)
        bare = _renamed(tensors, lambda name: strip_wrappers(name, _MORE_WRAPPERS))
        yield bare
        if shared := _shared_prefix(bare):
            yield _renamed(bare, lambda name: name.removeprefix(shared))


def strip_wrappers(name: str, wrappers: tuple[str, ...] = _WRAPPERS) -> str:
    """The name without prefixes of wrappers, stripped until nothing changes."""
    while found := next((wrapper for wrapper in wrappers if name.startswith(wrapper)), None):
        name = name.removeprefix(found)
    return name


def _mappings(content: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if not isinstance(content, Mapping) or not content or not all(isinstance(key, str) for key in content):
        return
    yield path, content
    for key, value in content.items():
        if not _OTHER_STATE.search(key):
            yield from _mappings(value, (*path, key))


def _flatten(node: Mapping[str, Any]) -> Tensors:
    """The tensors of a mapping and of those in it, by their names joined with dots, without values of other kinds."""
    tensors: Tensors = {}
    for key, value in node.items():
        if isinstance(value, torch.Tensor) and key not in _NO_WEIGHT:
            tensors[key] = value
        elif (
            isinstance(value, Mapping) and all(isinstance(name, str) for name in value) and not _OTHER_STATE.search(key)
        ):
            tensors |= {f"{key}.{name}": tensor for name, tensor in _flatten(value).items()}
    return tensors


def _rank(path: str) -> tuple[int, int]:
    """Averaged weights first, then the usual keys in their order, then all others."""
    keys = path.split(".")
    usual = min((_USUAL_KEYS.index(key) for key in keys if key in _USUAL_KEYS), default=len(_USUAL_KEYS))
    return (0 if _AVERAGED.search(path) else 1, usual)


def _prefixes(names: Collection[str], expected: Collection[str]) -> Counter[str]:
    """By prefix, how many of the expected names stand behind it."""
    wanted, counts = set(expected), Counter[str]()
    for name in names:
        at = 0
        while True:
            if name[at:] in wanted:
                counts[name[:at]] += 1
            at = name.find(".", at) + 1
            if at == 0:
                break
    return counts


def _renamed(tensors: Tensors, rename: Callable[[str], str]) -> Tensors:
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    return renamed if len(renamed) == len(tensors) else tensors  # names that would fall together stay apart


def _shared_prefix(names: Collection[str]) -> str:
    """The dotted prefix that all names share, but for their last part."""
    shared = None
    for name in names:
        parts = name.split(".")[:-1]
        if shared is None:
            shared = parts
        while shared and parts[: len(shared)] != shared:
            shared = shared[:-1]
    return ".".join(shared) + "." if shared and len(names) > 1 else ""
