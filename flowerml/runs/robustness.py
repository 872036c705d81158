"""Measure what a flowers classifier's accuracy loses on corrupted photos: its validation photos, or a test folder."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowerml.data.augment.normalize import BatchNormalizer
from flowerml.data.loader import Batch, Example, Loader, evaluation_loader
from flowerml.data.rng import derive_seed
from flowerml.errors import UserError, one_line
from flowerml.evaluation.corruptions import VIEWS, CorruptedViews
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.predict import predict_all
from flowerml.evaluation.robustness import (
    FORMAT,
    Robustness,
    describe_weakest,
    format_robustness,
    measure_robustness,
    robustness_markdown,
)
from flowerml.events import Artifact, Metrics, Tags
from flowerml.files import (
    check_writable,
    file_digest,
    removed_if_empty,
    require_empty_dir,
    write_bytes,
    write_json,
    write_text,
)
from flowerml.models.builders import set_channels_last
from flowerml.optional_files import write_optional
from flowerml.prediction import as_network
from flowerml.progress_bar import track
from flowerml.runs.evaluate import OpenEvaluationRun, evaluation_tags, select_examples
from flowerml.runs.evaluate import Request as EvaluationRequest
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.settings import Family
from flowerml.settings.addresses import canonical_address
from flowerml.tasks import task_for
from flowerml.text import escape_markdown
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest
from flowerml.training.device import default_workers, use_device

logger = logging.getLogger(__name__)

_FILES = ("robustness.json", "robustness.md", "robustness.png")
_BATCH_BYTES = 2**28  # of the uint8 views of a batch of photos


@dataclass(frozen=True)
class Request:
    """What to measure: a run's folder or a .pth, and where the result goes.

    Photos are those of the validation part of the stored split, in `train_dir` (None: the folder trained on), or all
    of `test_dir`; with `limit` at most so many of each class. `run_id` is MLflow's of the training run, "" where it
    stands in the folder's `run.json`.
    """

    weights: Path
    output_dir: Path
    train_dir: Path | None = None
    test_dir: Path | None = None
    limit: int | None = None
    device: str | None = None
    workers: int | None = None
    run_id: str = ""


@dataclass(frozen=True)
class RobustnessReport:
    """What came of it: the file (its sha256 in hex) and its model, which photos of which folder, and the figures.

    `remarks` are sentences: the weakest corruption, and a setting that is known to help, if any. `weights_digest` is
    that of the weights alone, "" in results of earlier versions.
    """

    weights: Path
    sha256: str
    model: str
    part: str
    photos: Path
    measured: Robustness
    remarks: tuple[str, ...]
    weights_digest: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `robustness.json`."""
        return {
            "format": FORMAT,
            "checkpoint": str(self.weights),
            "sha256": self.sha256,
            "weights_digest": self.weights_digest,
            "model": self.model,
            "split": self.part,
            "folder": canonical_address(str(self.photos)),
            **self.measured.as_json(),
            "remarks": list(self.remarks),
        }

    def as_text(self) -> str:
        """Table and remarks, for a terminal."""
        return "\n".join([format_robustness(self.measured), "", *self.remarks])


def run_robustness(request: Request, open_child: OpenEvaluationRun | None = None) -> RobustnessReport:
    """Predict the photos clean, as `flowerml eval` does, and under each corruption; write the result.

    Writes `robustness.json`, `robustness.md` and `robustness.png`, then records them in the MLflow run that
    `open_child` opens (None: nowhere). A tracking store that is away is a warning: the files are there.

    Raises:
        UserError: the output folder is not empty, the checkpoint can't be used or is of another family, it has no split
            and no test folder was given, or the photos are gone.
    """
    require_empty_dir("--output-dir", request.output_dir)
    file = request.weights / "best.pth" if request.weights.is_dir() else request.weights
    checkpoint = load_checkpoint(file)
    if checkpoint.spec.family not in (Family.CNN, Family.VIT):
        raise UserError(
            f"{file}: holds {checkpoint.spec.name}, of family {checkpoint.spec.family}. Allowed: models that classify"
            " whole pictures (families cnn and vit)"
        )
    settings, task = checkpoint.parse_settings(), task_for(checkpoint.spec)
    device = use_device(request.device)
    wanted = EvaluationRequest(file, "val", request.train_dir, request.test_dir)
    part, folder, examples, remarks = select_examples(wanted, checkpoint, task, settings)
    shown = canonical_address(str(folder))
    for remark in remarks:
        logger.warning(one_line(f"{shown}: {remark}"))
    examples = limit_per_class(examples, request.limit)
    workers = default_workers(device) if request.workers is None else request.workers
    with removed_if_empty(request.output_dir):
        check_writable(request.output_dir / "robustness.json")  # makes the folder: after the checks, before the work
        logger.info(
            f"evaluating {len(examples)} {part} pictures of {shown} on {device}, clean and in {len(VIEWS)} corrupted"
            " views"
        )
        clean, corrupted = _predict(checkpoint, examples, device, workers)
        measured = measure_robustness(clean, corrupted)
        report = RobustnessReport(
            weights=file,
            sha256=file_digest(file),
            model=checkpoint.spec.name,
            part=part,
            photos=folder,
            measured=measured,
            remarks=describe_weakest(measured, settings),
            weights_digest=weights_digest(checkpoint.state_dict),
        )
        name = settings.run_name or (file.parent if part == "val" else file).name
        _write(request.output_dir, report, name)
    if open_child is not None:
        _record(request, report, checkpoint, f"robustness of {name}", open_child)
    return report


def limit_per_class(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples of each class, in their order; which ones depends on their ids alone. None: all."""
    if limit is None:
        return list(examples)
    taken: Counter[int] = Counter()
    chosen = set()
    for example in sorted(examples, key=lambda one: derive_seed("robustness", one.id)):
        if taken[example.label] < limit:
            taken[example.label] += 1
            chosen.add(example.id)
    return [example for example in examples if example.id in chosen]


def _predict(
    checkpoint: Checkpoint, examples: list[Example], device: torch.device, workers: int
) -> tuple[Predictions, list[Predictions]]:
    """Predictions of the clean photos, in the batches of `flowerml eval`, and of the views in the order of `VIEWS`."""
    settings, description = checkpoint.parse_settings(), checkpoint.description
    network = as_network(checkpoint, str(device), checkpoint.origin)
    memory_format = set_channels_last(network, checkpoint.spec)
    _, transform = task_for(checkpoint.spec).transforms(description, settings)
    loader = evaluation_loader(examples, transform, batch_size=settings.batch_size, workers=workers)
    batches = track(loader.epoch(1), "clean photos", total=len(loader))
    clean = predict_all(network, batches, checkpoint.classes, device, memory_format)

    # All views of a batch are in memory at once: bytes, not floats, and fewer photos where they are large.
    size = max(1, min(settings.batch_size, _BATCH_BYTES // (len(VIEWS) * 3 * description.size**2)))
    loader = evaluation_loader(examples, CorruptedViews(description), batch_size=size, workers=workers)
    views = _view_batches(loader, BatchNormalizer(description, torch.device("cpu")))
    together = predict_all(network, views, checkpoint.classes, device, memory_format)
    view_of_row = np.concatenate([np.repeat(np.arange(len(VIEWS)), count) for count in loader.sizes])
    return clean, [together.part(view_of_row == view) for view in range(len(VIEWS))]


def _view_batches(loader: Loader, normalise: BatchNormalizer) -> Iterator[Batch]:
    """For each batch of photos one batch of each view, normalised."""
    for inputs, labels, ids in track(loader.epoch(1), "corrupted photos", total=len(loader)):
        assert isinstance(inputs, torch.Tensor)
        for view in range(len(VIEWS)):
            yield normalise(inputs[:, view]), labels, ids


def _write(folder: Path, report: RobustnessReport, name: str) -> None:
    """Write the files: first the figure, which may fail, then the page, last the values."""
    title = f"Robustness of {name}"
    where = "its validation photos" if report.part == "val" else f"the photos of {report.photos}"
    facts = f"{report.model}, {report.weights.name} (sha256 {report.sha256[:16]}…), on {where}."
    write_optional(folder / "robustness.png", lambda path: _write_figure(path, report.measured, title))
    page = robustness_markdown(
        report.measured, escape_markdown(title), [escape_markdown(facts), " ".join(report.remarks)]
    )
    write_text(folder / "robustness.md", page)
    write_json(folder / "robustness.json", report.as_json())


def _write_figure(path: Path, measured: Robustness, title: str) -> None:
    from flowerml.reporting.figures.drawing import png_bytes  # Matplotlib, only after the work
    from flowerml.reporting.figures.robustness_figure import robustness_figure

    write_bytes(path, png_bytes(robustness_figure(measured, title)))


def _record(
    request: Request, report: RobustnessReport, checkpoint: Checkpoint, name: str, open_child: OpenEvaluationRun
) -> None:
    """Record the result in a child of the training run, if that is known. Logs why where the store takes none."""
    settings, standing = checkpoint.parse_settings(), read_run_file(report.weights.parent)
    parent = request.run_id or (standing.run_id if standing else "")
    try:
        recorder = open_child(parent or None, settings.experiment or task_for(checkpoint.spec).name, name)
    except UserError as error:  # the store is away or refuses: hours of work must not end as a failure
        logger.warning(f"{one_line(str(error))}; the result is in {request.output_dir}, and not in MLflow")
        return
    with finalize_status(recorder):
        tags = evaluation_tags(checkpoint, settings, report.part, parent or str(report.weights))
        digests = {"flowerml.weights_sha256": report.sha256, "flowerml.weights_digest": report.weights_digest}
        weakest = report.measured.weakest
        recorder.record(Tags({**tags, **digests, "flowerml.weakest": "" if weakest is None else weakest.name}))
        recorder.record(Metrics({**report.measured.as_metrics(), "pictures": report.measured.total}))
        for path in sorted(request.output_dir.iterdir()):
            if path.name in _FILES:
                recorder.record(Artifact(path))
    logger.info(f"run {recorder.run_id} has its files and figures (mlflow ui)")
