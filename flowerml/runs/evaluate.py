"""Evaluate a checkpoint on its own split, or on a test folder."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flowerml.data.loader import Batch, Example, evaluation_loader
from flowerml.errors import UserError, one_line
from flowerml.evaluation.fit_calibration import judge_calibration
from flowerml.evaluation.metrics import Predictions, Scores, compute_metrics
from flowerml.evaluation.paired_gain import PairedGain, paired_gain
from flowerml.evaluation.predict import predict_with_views
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.evaluation.tta import NO_VIEWS
from flowerml.events import Artifact, Metrics, Recorder, Tags
from flowerml.models.builders import set_channels_last
from flowerml.prediction import as_network
from flowerml.runs.lifecycle.run_file import evaluation_folder, read_run_file
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.outputs.artifacts import write_evaluation
from flowerml.runs.outputs.mistake_maps import MistakeExplainer
from flowerml.settings import Settings
from flowerml.settings.addresses import canonical_address
from flowerml.tasks import Task, task_for
from flowerml.text import distinct_nfc
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from flowerml.training.device import default_workers, use_device

logger = logging.getLogger(__name__)

# Arguments: the training run's id if known, experiment, run name.
OpenEvaluationRun = Callable[[str | None, str, str], Recorder]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a checkpoint on one part of its data, the headline metric, and how the data has changed.

    `calibrated` is what its calibration does for photos that did not fit it; empty without one, or on its own split.
    `tta` names the views of the scores, and `gain` compares them with predictions without views (None: there are none).
    """

    scores: Scores
    headline: str
    part: str
    changes: tuple[str, ...]
    run_id: str
    calibrated: Mapping[str, float] = field(default_factory=dict)
    tta: str = NO_VIEWS
    gain: PairedGain | None = None


@dataclass(frozen=True)
class Request:
    """What to evaluate: a checkpoint on `split` (train, val or all) of `folder` (default: the one it was trained on).

    With `test_dir` all pictures of that folder instead. `logit_adjustment` is tau of Menon et al., "Long-tail learning
    via logit adjustment" (ICLR 2021): tau times the log training shares is subtracted from the logits (0: off). `tta`
    names the views of each picture to average over (None: the file's own).
    """

    checkpoint: Path
    split: str
    folder: Path | None = None
    test_dir: Path | None = None
    device: str | None = None
    workers: int | None = None
    logit_adjustment: float = 0.0
    tta: str | None = None


def run_evaluation(request: Request, open_child: OpenEvaluationRun) -> Evaluation:
    """Evaluate in fp32, in the same batches as the training's own evaluation: the figures are bit-equal.

    Raises:
        UserError: the checkpoint can't be used, has no split, is to be evaluated with views that its task has not, or
            the pictures are gone.
    """
    checkpoint = load_checkpoint(request.checkpoint)
    tta = _views(request, checkpoint)
    settings = checkpoint.parse_settings()
    device = use_device(request.device)
    if request.logit_adjustment and checkpoint.prior is None:
        raise UserError(
            f"{request.checkpoint} does not say how frequent its classes were (an earlier version wrote it): train it"
            " again"
        )
    task = task_for(checkpoint.spec)
    part, folder, examples, remarks = select_examples(request, checkpoint, task, settings)
    shown = canonical_address(str(folder))
    for remark in remarks:
        logger.warning(one_line(f"{shown}: {remark}"))
    predictor = as_network(checkpoint, str(device), str(request.checkpoint))
    memory_format = set_channels_last(predictor, checkpoint.spec)
    workers = default_workers(device) if request.workers is None else request.workers

    def batches_at(crop_pct: float) -> Iterator[Batch]:
        _, transform = task.transforms(replace(checkpoint.description, crop_pct=crop_pct), settings)
        return evaluation_loader(examples, transform, batch_size=settings.batch_size, workers=workers).epoch(1)

    logger.info(f"evaluating {len(examples)} {part} pictures of {shown} on {device}{_with_views(tta)}")
    own = checkpoint.description.crop_pct
    plain, predictions = predict_with_views(predictor, batches_at, tta, own, checkpoint.classes, device, memory_format)
    if request.logit_adjustment:
        assert checkpoint.prior is not None
        plain, predictions = (one.adjusted(checkpoint.prior, request.logit_adjustment) for one in (plain, predictions))
    scores = compute_metrics(predictions)
    gain = None if tta == NO_VIEWS else paired_gain(*(one.predicted == one.labels for one in (plain, predictions)))
    calibrated: dict[str, float] = {}
    if checkpoint.calibration is not None and part == "test" and not request.logit_adjustment:
        if tta == checkpoint.tta:
            calibrated = judge_calibration(predictions, checkpoint.calibration)
        else:
            logger.info(
                f"its calibration was fitted with --tta {checkpoint.tta} and is not judged with {tta}: `flowerml export"
                f" --tta {tta}` fits it for that"
            )

    source = read_run_file(request.checkpoint.parent)
    adjusted = f", logit adjustment {request.logit_adjustment:g}" if request.logit_adjustment else ""
    name = f"eval {part} of {settings.run_name or request.checkpoint.name}{adjusted}{_with_views(tta)}"
    # Files first: an MLflow run is only opened for a complete evaluation.
    folder = request.checkpoint.parent / evaluation_folder(part, tta, adjusted=bool(adjusted))
    earlier = read_predictions(folder / "predictions.csv")
    if earlier is not None and set(earlier.images) != set(distinct_nfc(list(predictions.ids))):
        logger.warning(
            f"{folder} has an evaluation of other pictures ({len(earlier.images):,}): its files are replaced; its own"
            " run in MLflow keeps them"
        )
    explainer = MistakeExplainer(task, checkpoint.classes, checkpoint.description, lambda: predictor)
    paths = _write_files(folder, name, predictions, scores, task, examples, explainer)
    recorder = open_child(source.run_id if source else None, settings.experiment or task.name, name)
    with finalize_status(recorder):
        recorder.record(
            Tags(evaluation_tags(checkpoint, settings, part, source.run_id if source else str(request.checkpoint)))
        )
        if adjusted:
            recorder.record(Tags({"flowerml.logit_adjustment": f"{request.logit_adjustment:g}"}))
        if gain is not None:
            recorder.record(Tags({"flowerml.tta": tta}))
            recorder.record(Metrics({f"{part}_tta_gain": gain.gain}))
        recorder.record(Metrics(_metrics_of(scores, part)))
        if calibrated:
            recorder.record(Metrics({f"{part}_{name}": value for name, value in calibrated.items()}))
        for path in paths:
            recorder.record(Artifact(path))
    return Evaluation(scores, task.headline, part, tuple(remarks), recorder.run_id, calibrated, tta, gain)


def _views(request: Request, checkpoint: Checkpoint) -> str:
    """The views to evaluate with. Raises UserError for a task that has none."""
    tta = checkpoint.tta if request.tta is None else request.tta
    if tta != NO_VIEWS and (reason := task_for(checkpoint.spec).no_views):
        raise UserError(f"--tta {tta} is not available for {reason}. Leave it out")
    return tta


def _with_views(tta: str) -> str:
    return "" if tta == NO_VIEWS else f", views {tta}"


def select_examples(
    request: Request, checkpoint: Checkpoint, task: Task, settings: Settings
) -> tuple[str, Path, list[Example], list[str]]:
    """The part's name, its folder, its examples, and remarks. Raises UserError where there are none, or on bad data."""
    split = checkpoint.parse_split()
    if request.test_dir is not None:
        examples, remarks = task.test_examples(request.test_dir, checkpoint.classes, split, settings, None)
        return "test", request.test_dir, examples, remarks
    if split is None:
        raise UserError(
            f"{request.checkpoint} carries no split (a delivered file): give the pictures with --test-dir FOLDER"
        )
    part, folder = request.split, request.folder or Path(settings.train_dir)
    examples, changes = task.examples(folder, checkpoint.classes, split, settings)
    keys = set({"train": split.train, "val": split.val, "all": split.train + split.val}[part])
    if not keys:
        raise UserError(f"{request.checkpoint}: its split has no {part} pictures (--val-split {split.val_split:g})")
    examples = [example for example in examples if example.id in keys]
    if not examples:
        raise UserError(
            f"{folder}: none of the {part} pictures of {request.checkpoint} is there: name the folder it was trained on"
            " with --train-dir, or evaluate on other pictures with --test-dir"
        )
    return part, folder, examples, [f"not as it was at training: {change}" for change in changes]


def _write_files(
    folder: Path,
    title: str,
    predictions: Predictions,
    scores: Scores,
    task: Task,
    examples: Sequence[Example],
    explainer: MistakeExplainer,
) -> list[Path]:
    """Write the evaluation's files beside the checkpoint, or to a temporary folder where that one is read-only."""
    try:
        return write_evaluation(folder, title, predictions, scores, task, examples, explainer)
    except UserError as error:
        temporary = Path(tempfile.mkdtemp(prefix="flowerml-eval-"))
        logger.warning(f"{error}; the files are in {temporary} and in MLflow")
        return write_evaluation(temporary, title, predictions, scores, task, examples, explainer)


def _metrics_of(scores: Scores, part: str) -> dict[str, float]:
    prefix = f"{part}_" if part != "all" else ""
    metrics = {
        "accuracy": scores.accuracy,
        "macro_f1": scores.macro_f1,
        "mean_recall": scores.mean_recall,
        "loss": scores.loss,
        "calibration_error": scores.calibration_error,
    }
    return {prefix + name: value for name, value in metrics.items()}


def evaluation_tags(checkpoint: Checkpoint, settings: Settings, part: str, evaluates: str) -> dict[str, str]:
    """Tags of a run that measures a checkpoint on a `part` of its data; `evaluates` is a run's id or a file."""
    tags = {
        "flowerml.evaluated_split": part,
        "flowerml.evaluates": evaluates,
        "flowerml.family": str(checkpoint.spec.family),
        "flowerml.seed": str(settings.seed),
    }
    if checkpoint.split is not None:
        tags |= {
            "flowerml.data_digest": checkpoint.split["data_digest"],
            "flowerml.split_digest": checkpoint.split["digest"],
        }
    return tags
