"""Runs whose weights can be averaged: read, checked against each other, classes in one order."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.errors import UserError
from flowerml.files import file_digest
from flowerml.models.weights.average import permute_head
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.outputs.kept_epochs import kept_epochs, run_folder_of
from flowerml.settings import Family, Settings
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingredient:
    """A run's weights: `path` of its best.pth (or a kept epoch), that file's sha256 (hex), and the weights' own digest.

    `start` is the digest of the weights it was trained from, "" where the folder does not record it.
    """

    path: Path
    sha256: str
    weights_digest: str
    checkpoint: Checkpoint
    settings: Settings
    start: str


def read_ingredients(paths: Sequence[Path], *, skip_others: bool = False, epochs: bool = False) -> list[Ingredient]:
    """The runs of `paths` (folders or best.pth files), with the classes in the order of the first.

    A folder stands for its best.pth and, with `epochs`, for the other epochs that it has kept (`--keep-epochs`).

    `skip_others`: what can't be averaged with the first is left out with a warning.

    Raises:
        UserError: a file can't be used, is not of a finished run of a flowers model, is given twice, or is of another
            model, other classes, split, input description or starting weights than the first.
    """
    ingredients = [ingredient for path in paths for ingredient in _read_all(path, epochs=epochs)]
    if skip_others:
        ingredients = _without_others(ingredients)
    first = ingredients[0]
    seen: dict[str, Path] = {}
    for ingredient in ingredients:
        if (same := seen.setdefault(ingredient.weights_digest, ingredient.path)) is not ingredient.path:
            raise UserError(
                f"{ingredient.path} has the very weights of {same}: name each run once, and runs that differ in a"
                " setting or the seed"
            )
        if difference := _difference(first, ingredient):
            raise UserError(
                f"{ingredient.path} can't be averaged with {first.path}: {difference}. Allowed: runs of one model,"
                " split, input and starting weights (--weights hub, or one file)"
            )
    return [_in_order(ingredient, first.checkpoint.classes) for ingredient in ingredients]


def _without_others(ingredients: Sequence[Ingredient]) -> list[Ingredient]:
    first, *others = ingredients
    kept = [first]
    for other in others:
        if difference := _difference(first, other):
            logger.warning(f"{other.path} is left out of the average: {difference}")
        elif all(other.weights_digest != one.weights_digest for one in kept):
            kept.append(other)
    return kept


def _read_all(path: Path, *, epochs: bool) -> list[Ingredient]:
    """The best epoch and, with `epochs`, the other ones that a run's folder has kept."""
    best = _read(path / "best.pth" if path.is_dir() else path)
    others = [_read(file) for file in kept_epochs(path)] if epochs and path.is_dir() else []
    return [best, *(other for other in others if other.checkpoint.epoch != best.checkpoint.epoch)]


def _read(file: Path) -> Ingredient:
    folder = run_folder_of(file)
    recorded = read_run_file(folder)
    if recorded is not None and recorded.status != "FINISHED":
        raise UserError(
            f"{folder} holds a run that is {recorded.status}: finish it (the same `flowerml train` again goes on),"
            " or leave it out"
        )
    checkpoint = load_checkpoint(file)
    if checkpoint.spec.family not in (Family.CNN, Family.VIT):
        raise UserError(
            f"{file}: holds {checkpoint.spec.name}, of family {checkpoint.spec.family}. Allowed: runs of models that"
            " classify whole pictures (families cnn and vit)"
        )
    if checkpoint.split is None:
        raise UserError(f"{file} carries no split (a delivered file): give the run's own best.pth")
    return Ingredient(
        file,
        file_digest(file),
        weights_digest(checkpoint.state_dict),
        checkpoint,
        checkpoint.parse_settings(),
        _recorded_start(folder),
    )


def _recorded_start(folder: Path) -> str:
    try:
        return str(json.loads((folder / "settings.json").read_text("utf-8"))["identity"]["weights"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _difference(first: Ingredient, other: Ingredient) -> str:
    """Why the two can't be averaged; "" where they can."""
    a, b = first.checkpoint, other.checkpoint
    if a.spec != b.spec:
        return f"it is of model {b.spec.name}, not {a.spec.name}"
    if sorted(a.classes) != sorted(b.classes):
        odd = sorted(set(a.classes) ^ set(b.classes))
        return f"its classes are others (only one of the two has {', '.join(odd[:5])})"
    assert a.split is not None
    assert b.split is not None
    if a.split.get("digest") != b.split.get("digest"):
        return (
            "it was trained on another split, so that its training pictures may be the other's validation pictures"
            f" (split digest {str(b.split.get('digest'))[:8]}, not {str(a.split.get('digest'))[:8]})"
        )
    if a.description != b.description:
        names = [
            name for name, value in vars(a.description).items() if value != getattr(b.description, name)
        ]  # of mean, std, size, interpolation, crop
        return f"its input description differs ({', '.join(names)})"
    return _other_start(first, other)


def _other_start(first: Ingredient, other: Ingredient) -> str:
    a, b = first.settings, other.settings
    both_recorded = first.start and other.start
    if (first.start != other.start) if both_recorded else (a.weights != b.weights):
        return f"it started from other weights (--weights {b.weights}, not {a.weights})"
    if b.weights == "none" and a.seed != b.seed:
        return (
            f"both started at random (--weights none) from different seeds ({b.seed}, not {a.seed}), and the mean of"
            " unrelated weights is of no use"
        )
    return ""


def _in_order(ingredient: Ingredient, classes: tuple[str, ...]) -> Ingredient:
    """The ingredient with its outputs, prior and stored classes in the order of `classes`."""
    checkpoint = ingredient.checkpoint
    if checkpoint.classes == classes:
        return ingredient
    order = [checkpoint.classes.index(name) for name in classes]
    split: Mapping[str, object] = {**(checkpoint.split or {}), "classes": list(classes)}
    aligned = replace(
        checkpoint,
        state_dict=permute_head(checkpoint.state_dict, order),
        classes=classes,
        prior=None if checkpoint.prior is None else tuple(checkpoint.prior[place] for place in order),
        settings={**checkpoint.settings, "classes": list(classes)},
        split=split,
    )
    return replace(ingredient, checkpoint=aligned, settings=aligned.parse_settings())
