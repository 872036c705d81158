"""After the last epoch: scores, figures, pages, the export probe, the run's description."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch

from flowerml.data.features.loader import feature_evaluation_loader
from flowerml.data.loader import Example, Transform, evaluation_loader
from flowerml.evaluation.metrics import Predictions, Scores, compute_metrics, format_scores
from flowerml.evaluation.predict import predict_all
from flowerml.events import Artifact, Metrics, Recorder, Tags, TrainedModel
from flowerml.models.builders import set_channels_last
from flowerml.optional_files import try_to_make
from flowerml.prediction import as_network, load_network
from flowerml.runs.baselines import record_baselines
from flowerml.runs.best_weights import BestWeights
from flowerml.runs.outputs import artifacts
from flowerml.runs.outputs.calibrate import Calibrated, calibrate, calibrate_by_runs
from flowerml.runs.outputs.mistake_maps import MistakeExplainer
from flowerml.runs.outputs.tags_and_note import final_tags, repeat_flags, run_description
from flowerml.runs.prepare import Prepared
from flowerml.tasks import Views
from flowerml.training.callbacks import Candidate, TrainingResult
from flowerml.training.checkpoints.checkpoint import Checkpoint
from flowerml.training.device import autocast_dtype

logger = logging.getLogger(__name__)

_HEAT_MAPS_S = 3.0  # about the most that they add to the end of a run


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, ids, best epoch, and scores on validation and test data (None: no data)."""

    folder: Path
    run_id: str
    config_id: str
    best_epoch: int
    scores: Scores | None
    test: Scores | None


def finalize_run(
    run: Prepared,
    recorder: Recorder,
    outcome: TrainingResult,
    best: BestWeights,
    views: Views,
    test_examples: Sequence[Example],
    calibration_folders: Sequence[Path] = (),
) -> RunResult:
    """Write and record everything after the last epoch; a figure or page that can't be made is named in a warning.

    `calibration_folders`: as `run_training` takes them.

    Raises:
        UserError: a file that later commands need can't be written.
    """
    assert outcome.best is not None
    try:
        outcome.best = _in_fp32(outcome.best, best, run, views)
        calibrated = _calibrate(run, outcome.best, calibration_folders)
        if calibrated is not None:
            best.set_calibration(calibrated.calibration)
    finally:
        best.write()  # also where the evaluation fails: the weights are good
    paths = [best.path, artifacts.write_history(run.folder, outcome.history)]
    if curves := try_to_make("curves.png", lambda: artifacts.write_curves(run, outcome)):
        paths.append(curves)
    read_back = cache(lambda: load_network(best.path))  # what later commands will read
    explainer = None
    if views.features is None:  # a linear probe ends in less time than its backbone needs for a map: `flowerml eval`
        explainer = MistakeExplainer(
            run.task,
            run.data.classes,
            run.built.description,
            lambda: (
                read_back()
                if run.device.type == "cpu"
                else as_network(best.checkpoint, str(run.device), str(run.folder))
            ),
            seconds=_HEAT_MAPS_S,
        )
    metrics: dict[str, float] = {"best_epoch": outcome.best.epoch}
    scores: Scores | None = None
    if outcome.best.predictions is not None:
        scores = compute_metrics(outcome.best.predictions)
        metrics |= {
            "best_val_accuracy": scores.accuracy,
            "best_val_macro_f1": scores.macro_f1,
            "best_val_mean_recall": scores.mean_recall,
        }
        metrics |= run.task.extra_metrics(
            outcome.best.predictions,
            views,
            lambda examples: _predict(best.checkpoint, run, examples, views.workers),
        )
        title = f"{run.settings.run_name}, validation, epoch {outcome.best.epoch}"
        paths += artifacts.write_evaluation(
            run.folder, title, outcome.best.predictions, scores, run.task, run.data.val, explainer
        )
    if calibrated is not None:
        metrics |= calibrated.metrics
        paths += calibrated.paths
    on_cpu = views.features if run.device.type == "cpu" else None  # a GPU's features differ in the last digits
    _, transform = run.task.transforms(run.built.description, run.settings)
    paths.append(artifacts.write_probe(run.folder, run.data.val or run.data.train, transform, on_cpu, read_back()))
    test: Scores | None = None
    if test_examples:
        test_predictions = (
            _predict(best.checkpoint, run, test_examples, run.workers)
            if views.features is None
            else _predict_features(best.checkpoint, run, test_examples, views.features(test_examples))
        )
        test = compute_metrics(test_predictions)
        metrics |= {
            "test_accuracy": test.accuracy,
            "test_macro_f1": test.macro_f1,
            "test_mean_recall": test.mean_recall,
        }
        title = f"{run.settings.run_name}, test folder"
        test_paths = artifacts.write_evaluation(
            run.folder / "test", title, test_predictions, test, run.task, test_examples, explainer
        )
        for path in test_paths:
            recorder.record(Artifact(path, "test"))
    recorder.record(TrainedModel(run.settings.run_name or run.folder.name, _model_params(run)))
    recorder.record(Metrics(metrics, step=outcome.best.epoch, of_model=True))
    recorder.record(
        Tags({"mlflow.note.content": run_description(run, outcome, scores, test), **final_tags(outcome, scores)})
    )
    for path in paths:
        recorder.record(Artifact(path))
    if run.settings.max_minutes and outcome.length is not None:
        logger.info(f"to repeat this run: {repeat_flags(outcome.length)}, and the other settings as they are")
    if scores is not None:
        for path in try_to_make("baselines", partial(record_baselines, run, recorder, views, scores)) or ():
            recorder.record(Artifact(path))
        logger.info(f"\nbest epoch {outcome.best.epoch}, validation:\n{format_scores(scores, run.task.headline)}")
    if calibrated is not None:
        logger.info(f"\n{calibrated.line}")
    if test is not None:
        logger.info(f"\ntest folder {run.settings.test_dir}:\n{format_scores(test, run.task.headline)}")
    return RunResult(run.folder, recorder.run_id, run.config_id, outcome.best.epoch, scores, test)


def _model_params(run: Prepared) -> dict[str, str]:
    """What a list of models is read by; the settings are the run's."""
    settings = run.settings
    return {
        "model": settings.model,
        "img_size": str(run.built.description.size),
        "parameters": str(run.built.parameters),
        "seed": str(settings.seed),
        "config_id": run.shared_config_id[:8],
    }


def _calibrate(run: Prepared, best: Candidate, calibration_folders: Sequence[Path]) -> Calibrated | None:
    """By the validation photos; without any, by those of other runs. None where that can't be done."""
    if best.predictions is not None:
        return try_to_make("calibration", partial(calibrate, run.folder, best.predictions))
    by_runs = partial(calibrate_by_runs, run.folder, run.data.classes, calibration_folders)
    return try_to_make("calibration", by_runs)


def _in_fp32(best: Candidate, weights: BestWeights, run: Prepared, views: Views) -> Candidate:
    """The best epoch, evaluated in fp32 where the epochs were evaluated in the training's own precision.

    Its figures then also stand in the file of its weights.
    """
    if best.predictions is None or autocast_dtype(run.device, amp=run.settings.amp) is None:
        return best
    checkpoint = weights.checkpoint
    if views.features is not None:
        predictions = _predict_features(checkpoint, run, views.val, views.features(views.val))
    else:
        predictions = _predict(checkpoint, run, views.val, views.workers, views.eval_transform)
    result = compute_metrics(predictions).as_epoch_result(best.epoch)
    weights.set_metrics(result.as_metrics())
    return replace(best, result=result, predictions=predictions)


def _predict(
    checkpoint: Checkpoint,
    run: Prepared,
    examples: Sequence[Example],
    workers: int,
    transform: Transform | None = None,
) -> Predictions:
    """Predictions of a checkpoint; `transform` None is the task's own for evaluation."""
    network = as_network(checkpoint, str(run.device), str(run.folder))
    memory_format = set_channels_last(network, run.spec)
    own = run.task.transforms(run.built.description, run.settings)[1]
    loader = evaluation_loader(examples, transform or own, batch_size=run.settings.batch_size, workers=workers)
    return predict_all(network, loader.epoch(1), run.data.classes, run.device, memory_format)


def _predict_features(
    checkpoint: Checkpoint, run: Prepared, examples: Sequence[Example], features: torch.Tensor
) -> Predictions:
    """Predictions of a checkpoint's head for examples with features (N, F)."""
    head = as_network(checkpoint, str(run.device), str(run.folder)).get_submodule("head")
    loader = feature_evaluation_loader(features, examples, batch_size=run.settings.batch_size)
    return predict_all(head, loader.epoch(1), run.data.classes, run.device)
