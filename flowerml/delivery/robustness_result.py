"""What `flowerml robustness` left beside a run or a delivered file, for the model card."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.evaluation.corruptions import CORRUPTIONS
from flowerml.evaluation.robustness import FORMAT
from flowerml.files import file_digest
from flowerml.text import escape_markdown
from flowerml.training.checkpoints.checkpoint import Checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest

logger = logging.getLogger(__name__)

RESULT = "robustness.json"
Fetch = Callable[[str], Sequence[Mapping[str, Any]]]
_LABELS = {one.name: one.label for one in CORRUPTIONS}


@dataclass(frozen=True)
class RobustnessResult:
    """Accuracies (0..1) of `pictures` photos, clean and by corruption, as (strength in words, accuracy) pairs.

    `weights` and `photos` say in words what was measured on what; `weakest` is the corruption that costs most, or "".
    """

    weights: str
    photos: str
    pictures: int
    clean: float
    corrupted: Mapping[str, tuple[tuple[str, float], ...]]
    weakest: str


def find_robustness(folder: Path, weights: Path) -> RobustnessResult | None:
    """The result for the file `weights` in `folder` or one of its folders, that of most photos; None without one.

    Results for other weights (by their sha256) and files that can't be read are passed over.
    """
    found = [content for path in sorted([folder / RESULT, *folder.glob(f"*/{RESULT}")]) if (content := _read(path))]
    if not found or not weights.is_file():
        return None
    digest = file_digest(weights)
    results = [_parse(content, weights.name) for content in found if content.get("sha256") == digest]
    return max((one for one in results if one is not None), key=lambda one: one.pictures, default=None)


def tracked_robustness(checkpoint: Checkpoint, fetch: Fetch) -> RobustnessResult | None:
    """What `flowerml robustness` recorded in MLflow for these weights; None without it, and where the store is away.

    `fetch` returns the recorded contents of `robustness.json` for a digest of weights, and may raise UserError.
    """
    digest = weights_digest(checkpoint.state_dict)
    try:
        return recorded_robustness(fetch(digest), digest)
    except UserError as error:
        logger.warning(f"{error}; the model card goes without what MLflow has on corrupted photos")
        return None


def recorded_robustness(contents: Sequence[Mapping[str, Any]], digest: str) -> RobustnessResult | None:
    """The result of most photos among `contents` of `robustness.json`, for these weights; None without one.

    `digest` is that of the weights alone: a registered file differs from the `best.pth` that was measured.
    """
    fitting = [one for one in contents if (one.get("format"), one.get("weights_digest")) == (FORMAT, digest)]
    results = [_parse(content, Path(str(content.get("checkpoint"))).name) for content in fitting]
    return max((one for one in results if one is not None), key=lambda one: one.pictures, default=None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def _parse(content: Mapping[str, Any], weights: str) -> RobustnessResult | None:
    """The result in a `robustness.json`; None, and a line in the log, where it lacks a part."""
    try:
        corrupted: dict[str, tuple[tuple[str, float], ...]] = {}
        for row in content["corruptions"]:
            name, strength = str(row["corruption"]), float(row["strength"])
            label = _LABELS.get(name, "{:g}".format)(strength)
            corrupted[name] = (*corrupted.get(name, ()), (label, _share(row["accuracy"])))
        folder = Path(content["folder"]).name  # not the whole path: a card goes to other people
        return RobustnessResult(
            weights=weights,
            photos="its validation photos" if content["split"] == "val" else f"the photos of {folder}",
            pictures=int(content["pictures"]),
            clean=_share(content["clean"]["accuracy"]),
            corrupted=corrupted,
            weakest=str(content["weakest"] or ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        logger.warning(f"the {RESULT} of {weights} is left out of the model card ({type(error).__name__}: {error})")
        return None


def _share(value: object) -> float:
    """Raises ValueError for what is no number of 0..1, TypeError for what is no number."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"{value} is no share")
    return float(value)


def robustness_section(result: RobustnessResult | None) -> Iterator[str]:
    """Lines of Markdown: the table and what was measured, or how to get it where there is no result."""
    if result is None:
        yield (
            "Accuracy on blurred, noisy, dark, turned or squeezed photos was not measured: `flowerml robustness RUN"
            " --output-dir RUN/robustness` does that (RUN is the run's folder), and an export after it shows it here."
        )
        return
    yield "| corruption | strengths | accuracy | n |\n|---|---|---|---:|"
    yield f"| none | | {result.clean:.4f} | {result.pictures:,} |"
    for name, rows in result.corrupted.items():
        labels, accuracies = ", ".join(label for label, _ in rows), ", ".join(f"{share:.4f}" for _, share in rows)
        yield f"| {escape_markdown(name)} | {escape_markdown(labels)} | {accuracies} | {result.pictures:,} |"
    weakest = f" Weakest: {escape_markdown(result.weakest)}." if result.weakest else ""
    yield ""
    yield (
        f"Measured by `flowerml robustness` with {escape_markdown(result.weights)} on {escape_markdown(result.photos)},"
        " each corrupted at the size at which the model sees it, without test-time views; other corruptions may cost"
        f" more.{weakest}"
    )
