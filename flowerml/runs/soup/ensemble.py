"""The weights of an ensemble of two finished runs, chosen and judged by their validation predictions."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowerml.errors import UserError, one_line
from flowerml.prediction.ensemble_weight import WeightChoice, choose_weight
from flowerml.settings import Family
from flowerml.tasks import task_for
from flowerml.training.checkpoints.checkpoint import load_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleChoice:
    """The runs' folders, in the order of the weights, and the choice."""

    runs: tuple[Path, Path]
    seed: int
    choice: WeightChoice

    def as_json(self) -> dict[str, Any]:
        """Plain values; `weights` has a 0 where one run alone is as good."""
        judged = self.choice.judged
        return {
            "runs": [str(run) for run in self.runs],
            "seed": self.seed,
            "weights": list(self.choice.weights),
            "best_alone": self.choice.single,
            "judging": {"pictures": judged.pictures, **judged.as_json()},
        }


def choose_ensemble(runs: tuple[Path, Path], *, train_dir: Path | None = None, seed: int = 0) -> EnsembleChoice:
    """Choose the weights on one half of the validation pictures and judge them on the other; predicts nothing anew.

    `runs` are folders, or their best.pth. Near-duplicates are on one side: they are found in `train_dir` (None: the
    folder that the first run was trained on).

    Raises:
        UserError: runs of pairs of objects, pictures that are gone, or as `choose_weight`.
    """
    first, second = (run.parent if run.suffix == ".pth" else run for run in runs)
    groups = _near_duplicates(first, train_dir)
    return EnsembleChoice((first, second), seed, choose_weight(first, second, seed, groups))


def _near_duplicates(folder: Path, train_dir: Path | None) -> dict[str, int]:
    """The group number of each validation picture of the run in `folder`. Raises UserError."""
    file = folder / "best.pth"
    checkpoint = load_checkpoint(file)
    split = checkpoint.parse_split()
    if checkpoint.spec.family not in (Family.CNN, Family.VIT) or split is None:
        raise UserError(
            f"--ensemble: {file} is "
            + ("a delivered file" if split is None else f"of family {checkpoint.spec.family}")
            + ". Allowed: finished runs of models that classify whole pictures (families cnn and vit)"
        )
    task, settings = task_for(checkpoint.spec), checkpoint.parse_settings()
    root = train_dir or Path(settings.train_dir)
    examples, changes = task.examples(root, checkpoint.classes, split, settings)
    for change in changes:
        logger.warning(one_line(f"{root}: not as it was at training: {change}"))
    keys = set(split.val)
    val = [example for example in examples if example.id in keys]
    groups = task.near_duplicates(root, checkpoint.classes, split, val)
    return {example.id: group for example, group in zip(val, groups, strict=True)}
