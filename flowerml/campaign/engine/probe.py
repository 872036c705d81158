"""Estimate how long a plan takes: time a few batches of each model, frozen and not, on a sample of the images."""

import io
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.engine.context import DataInfo, load_data_info
from flowerml.campaign.plan.model import FinalMode, PhaseKind, Plan, PlanRun
from flowerml.data.loader import Example
from flowerml.data.scan_cache import use_cache_folder
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import Settings, find_model
from flowerml.tasks import task_for
from flowerml.training.callbacks import EpochMetrics

logger = logging.getLogger(__name__)

_SHARE_OF_A_COPY = 0.1  # of the time that the training took
_BATCHES = 3  # of training; half as many images again for the evaluation


@dataclass(frozen=True)
class EpochTime:
    """Seconds per image: training with a frozen backbone, full training, evaluation (with an epoch's writing)."""

    frozen: float
    full: float
    evaluation: float


def estimate_durations(plan: Plan, train_dir: str) -> dict[str, float]:
    """Estimated seconds of each run by name, without early stopping. Raises UserError for unusable images."""
    data = load_data_info(plan, train_dir)
    epoch_times: dict[tuple[object, ...], EpochTime] = {}
    seconds: dict[str, float] = {}
    for run in plan.runs:
        if run.settings is None:
            seconds[run.name] = _estimate_dependent_run(plan, run, seconds, data)
            continue
        key = _timing_key(run.settings)
        if key not in epoch_times:
            epoch_times[key] = _measure_epoch_time(run.settings, train_dir)
            logger.info(
                f"{run.settings.model} at {run.settings.img_size} px, batch {run.settings.batch_size}:"
                f" {_format_rates(epoch_times[key])}"
            )
        seconds[run.name] = _estimate_run(run.settings, epoch_times[key], data)
    return seconds


def _timing_key(settings: Settings) -> tuple[object, ...]:
    """The settings that the time per image depends on."""
    names = (
        "model",
        "img_size",
        "batch_size",
        "accumulate",
        "sam_rho",
        "lora_rank",
        "amp",
        "tf32",
        "ema",
        "compile",
        "grad_checkpointing",
        "device",
        "workers",
        "randaugment",
        "crop_scale",
        "color_jitter",
        "trivialaugment",
    )
    return tuple(getattr(settings, name) for name in names)


def _estimate_run(settings: Settings, epoch_time: EpochTime, data: DataInfo) -> float:
    if settings.probe:  # one pass, which runs of the same model share; epochs on features take no time beside it
        return (data.train + data.val) * epoch_time.evaluation
    frozen = min(settings.freeze_backbone_epochs, settings.epochs)
    full = settings.epochs - frozen
    evaluated = full + frozen
    if settings.freeze_views and frozen:  # one pass per view, and one over the validation images
        evaluated, frozen = full + 1, min(settings.freeze_views, frozen)
    trained = frozen * epoch_time.frozen + full * epoch_time.full
    seconds = data.train * trained + evaluated * data.val * epoch_time.evaluation
    return min(seconds, settings.max_minutes * 60) if settings.max_minutes else seconds


def _estimate_dependent_run(plan: Plan, run: PlanRun, seconds: Mapping[str, float], data: DataInfo) -> float:
    """The mean of the runs whose configurations a run's own is chosen from."""
    assert run.source is not None
    phase = plan.phase(run.phase)
    if phase.confirm is not None and phase.confirm.external is not None:
        return 0.0
    others = [seconds[one.name] for one in plan.phase(run.source.phase).runs if one.name in seconds]
    mean = sum(others) / max(1, len(others))
    if phase.final is not None and phase.final.mode is not FinalMode.RETRAIN:  # a copy, or evaluations of averages
        return _SHARE_OF_A_COPY * mean
    return mean * (data.train + data.val) / data.train if phase.kind is PhaseKind.FINAL else mean


def _measure_epoch_time(settings: Settings, train_dir: str) -> EpochTime:
    """Train two short epochs, the first with a frozen backbone. Random weights take as long as pretrained ones."""
    with tempfile.TemporaryDirectory(prefix="flowerml-probe-") as scratch:
        folder = Path(scratch)
        pictures = _write_sample_images(settings, Path(train_dir), folder / "pictures")
        changes = {
            "epochs": 2,
            "warmup_epochs": 0,
            "freeze_backbone_epochs": 1,
            "freeze_views": 0,
            "unmixed_epochs": 0,
            "probe": False,
            "stop_epoch": None,
            "max_minutes": 0.0,
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
        ):  # without the training's log
            run_training(short, lambda *_: MemoryRecorder(), on_row=on_row)
        trained = pictures * 2 // 3
        full = 1 / rows[1]["images_per_second"]
        evaluation = max(0.0, times[1] - times[0] - trained * full) / max(1, pictures - trained)
        return EpochTime(1 / rows[0]["images_per_second"], full, evaluation)


def _write_sample_images(settings: Settings, root: Path, into: Path) -> int:
    """Save a sample of each class, enough for the batches, as files of their own; return their number."""
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
        for example in _evenly_spaced(examples, each):
            if (picture := task.render(example)) is not None:
                picture.convert("RGB").save(folder / f"{written}.jpg", quality=90)
                written += 1
    return written


def _evenly_spaced(examples: Sequence[Example], count: int) -> Sequence[Example]:
    return examples[:: max(1, len(examples) // count)][:count]


def _format_rates(epoch_time: EpochTime) -> str:
    return (
        f"{1 / epoch_time.full:.1f} pictures/s trained ({1 / epoch_time.frozen:.1f} frozen),"
        f" {1 / max(epoch_time.evaluation, 1e-6):.0f}"
        " evaluated"
    )
