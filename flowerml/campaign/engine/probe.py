"""How long a plan takes, from a short trial: a few batches of each model with its backbone frozen and not, on some of
the very pictures.
"""

import io
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.engine.context import DataInfo, load_data_info
from flowerml.campaign.plan.model import PhaseKind, Plan, PlanRun
from flowerml.data.loader import Example
from flowerml.data.scan_cache import use_cache_folder
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import Settings, find_model
from flowerml.tasks import task_for
from flowerml.training.callbacks import EpochMetrics

logger = logging.getLogger(__name__)

_BATCHES = 3  # of training; as many pictures again, up to a half, for the evaluation


@dataclass(frozen=True)
class EpochTime:
    """Seconds a picture: trained with the backbone frozen, trained whole, evaluated (with what is written after an
    epoch).
    """

    frozen: float
    whole: float
    evaluated: float


def estimate_durations(plan: Plan, train_dir: str) -> dict[str, float]:
    """About how many seconds each run takes here, by name, if nothing stops early. Raises UserError for pictures that
    can't be used.
    """
    data = load_data_info(plan, train_dir)
    paces: dict[tuple[object, ...], EpochTime] = {}
    seconds: dict[str, float] = {}
    for run in plan.runs:
        if run.settings is None:
            seconds[run.name] = _following(plan, run, seconds, data)
            continue
        key = _kind_of(run.settings)
        if key not in paces:
            paces[key] = _pace(run.settings, train_dir)
            logger.info(
                f"{run.settings.model} at {run.settings.img_size} px, batch {run.settings.batch_size}:"
                f" {_words(paces[key])}"
            )
        seconds[run.name] = _of(run.settings, paces[key], data)
    return seconds


def _kind_of(settings: Settings) -> tuple[object, ...]:
    """What the pace hangs on."""
    names = (
        "model",
        "img_size",
        "batch_size",
        "accumulate",
        "amp",
        "ema",
        "compile",
        "device",
        "workers",
        "randaugment",
    )
    return tuple(getattr(settings, name) for name in names)


def _of(settings: Settings, pace: EpochTime, data: DataInfo) -> float:
    frozen = min(settings.freeze_backbone_epochs, settings.epochs)
    trained = frozen * pace.frozen + (settings.epochs - frozen) * pace.whole
    return data.train * trained + settings.epochs * data.val * pace.evaluated


def _following(plan: Plan, run: PlanRun, seconds: Mapping[str, float], data: DataInfo) -> float:
    """A run whose configuration is not known takes as long as those it is chosen from do on the average."""
    assert run.source is not None
    phase = plan.phase(run.phase)
    if phase.confirm is not None and phase.confirm.elsewhere is not None:
        return 0.0
    others = [seconds[one.name] for one in plan.phase(run.source.phase).runs if one.name in seconds]
    mean = sum(others) / max(1, len(others))
    return mean * (data.train + data.val) / data.train if phase.kind is PhaseKind.FINAL else mean


def _pace(settings: Settings, train_dir: str) -> EpochTime:
    """A training of two short epochs, the first with a frozen backbone, from random weights: they compute as long as
    real ones.
    """
    with tempfile.TemporaryDirectory(prefix="flowerml-probe-") as scratch:
        folder = Path(scratch)
        pictures = _some_pictures(settings, Path(train_dir), folder / "pictures")
        changes = {
            "epochs": 2,
            "warmup_epochs": 0,
            "freeze_backbone_epochs": 1,
            "stop_epoch": None,
            "weights": "none",
            "val_split": 1 / 3,
        }
        short = settings.replace(
            train_dir=str(folder / "pictures"),
            output_dir=str(folder / "run"),
            patience=0,
            duplicates="keep",
            bad_images="skip",
            **changes,
        )
        times: list[float] = []
        rows: list[EpochMetrics] = []

        def on_row(row: EpochMetrics) -> str:
            times.append(time.monotonic())
            rows.append(row)
            return ""

        with (
            use_cache_folder(folder / "cache"),
            redirect_stderr(io.StringIO()),
        ):  # what a training says of itself is of no interest here
            run_training(short, lambda *_: MemoryRecorder(), on_row=on_row)
        trained = pictures * 2 // 3
        whole = 1 / rows[1]["images_per_second"]
        evaluated = max(0.0, times[1] - times[0] - trained * whole) / max(1, pictures - trained)
        return EpochTime(1 / rows[0]["images_per_second"], whole, evaluated)


def _some_pictures(settings: Settings, root: Path, into: Path) -> int:
    """As many pictures of each class as some batches need, as files of their own; returns how many there are."""
    task = task_for(find_model(settings.model))
    data = task.prepare(settings.replace(train_dir=str(root)))
    by_label: dict[int, list[Example]] = {}
    for example in data.train:
        by_label.setdefault(example.label, []).append(example)
    each = max(3, -(-_BATCHES * settings.batch_size * 3 // (2 * len(by_label))))
    written = 0
    for label, examples in by_label.items():
        folder = into / data.classes[label]
        folder.mkdir(parents=True)
        for example in _spread(examples, each):
            if (picture := task.render(example)) is not None:
                picture.convert("RGB").save(folder / f"{written}.jpg", quality=90)
                written += 1
    return written


def _spread(examples: Sequence[Example], count: int) -> Sequence[Example]:
    return examples[:: max(1, len(examples) // count)][:count]


def _words(pace: EpochTime) -> str:
    return (
        f"{1 / pace.whole:.1f} pictures/s trained ({1 / pace.frozen:.1f} frozen), {1 / max(pace.evaluated, 1e-6):.0f}"
        " evaluated"
    )
