"""A training run, from complete settings to the last artifact."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.data.loader import Example, Loader, evaluation_loader, training_loader
from flowerml.errors import Stopped
from flowerml.events import Artifact, DatasetInput, Event, Metrics, Params, Recorder, Tags
from flowerml.models.builders import set_channels_last
from flowerml.runs.lifecycle.lease import Lease, acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.run_file import clear_folder
from flowerml.runs.lifecycle.stop_request import StopRequest, graceful, handle_signals, launcher_of, watched
from flowerml.runs.lifecycle.termination import closing
from flowerml.runs.outputs import artifacts
from flowerml.runs.outputs.finalize import RunResult, finalize_run
from flowerml.runs.outputs.run_header import print_header
from flowerml.runs.outputs.tags_and_note import tags
from flowerml.runs.prepare import Prepared, prepare
from flowerml.runs.resume import StartPoint, checkpoints_of, existing_run, find_start_point
from flowerml.settings import Settings
from flowerml.settings.serialization import as_params
from flowerml.tasks import Views
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.async_writer import AsyncWriter, async_writer
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from flowerml.training.checkpoints.progress import Progress, StateDict, copy_to_cpu
from flowerml.training.trainer import train

logger = logging.getLogger(__name__)

# Complete settings, experiment, run name; the folder for what it keeps, and that of the earlier try which goes on, or
# None.
OpenRecorder = Callable[[Settings, str, str, Path, Path | None], Recorder]
_BEATS = 6  # signs of life within a lease


def run_training(
    settings: Settings,
    open_recorder: OpenRecorder,
    *,
    labels: Mapping[str, str] | None = None,
    on_row: Callable[[EpochMetrics], str] | None = None,
) -> RunResult:
    """Prepare, train (from the last checkpoint of an earlier try, where there is one), evaluate, write everything down.

    `open_recorder` is called once everything that can be checked has been checked. `labels` are further tags of the run
    (or others than its own); `on_row` hears of each epoch, and may say that this was enough, and why: the run then ends
    there as it would have by itself, with the tag flowerml.pruned.

    Raises:
        UserError: wrong settings, data, weights or folder, or somebody else works on it (nothing was begun), or
            RunFailed (the run is closed as FAILED).
        Fenced: another process has taken the run over.
        KeyboardInterrupt: it was asked to stop; the run is closed as KILLED, and goes on when started again.
    """
    launcher = launcher_of(stops=settings.on_launcher_death == "stop")
    run = prepare(settings)
    test_examples = _test_examples(run)
    existing_run(run)  # refuses before anything is touched
    attempt = acquire(run.folder, run.settings.lease_seconds)
    stopping = StopRequest()
    with (
        fenced_writes(attempt),
        handle_signals(stopping),
        watched(attempt.heartbeat, run.settings.lease_seconds / _BEATS, stopping, launcher),
    ):
        begins, recorder = _open(run, attempt, open_recorder)
        with closing(run.folder, run.config_id, run.settings.seed, recorder, stopping, checkpoints_of(run).clear):
            finished = _execute(_TrainingRun(run, recorder, begins, stopping, labels or {}, on_row), test_examples)
        clean_fenced(attempt)
    return replace(finished, run_id=recorder.run_id)


def _open(run: Prepared, attempt: Lease, open_recorder: OpenRecorder) -> tuple[StartPoint, Recorder]:
    """What the run begins from, and who hears of it. Where it can't begin, all is as it was."""
    assert run.settings.experiment is not None
    assert run.settings.run_name is not None
    try:
        begins = find_start_point(run)
        print_header(run, begins.remark)
        earlier = attempt.previous if begins.same_run else None
        return begins, open_recorder(
            run.settings, run.settings.experiment, run.settings.run_name, attempt.folder, earlier
        )
    except BaseException:
        attempt.withdraw()
        raise


@dataclass(frozen=True)
class _TrainingRun:
    """A run under way: what was prepared, who hears of it, what it begins from, and what may ask it to stop."""

    prepared: Prepared
    recorder: Recorder
    begins: StartPoint
    stopping: StopRequest
    labels: Mapping[str, str]
    on_row: Callable[[EpochMetrics], str] | None


def _execute(under_way: _TrainingRun, test_examples: Sequence[Example]) -> RunResult:
    run, recorder, begins = under_way.prepared, under_way.recorder, under_way.begins
    checkpoints = checkpoints_of(run)
    if run.settings.overwrite:
        clear_folder(run.folder)
    if begins.checkpoint is None:
        checkpoints.clear()
    for event in _beginning(run, under_way.labels):
        recorder.record(event)
    for path in artifacts.write_beginnings(run):
        recorder.record(Artifact(path))
    views = run.task.views(run.built, run.settings, run.data, run.device, run.workers)
    with graceful(under_way.stopping) as asked, async_writer() as writes:
        outcome = _train(under_way, views, asked, writes)
    if reason := under_way.stopping.reason:  # it came after the last step
        raise Stopped(reason)
    return finalize_run(run, recorder, outcome, views, test_examples)


def _train(
    under_way: _TrainingRun, views: Views, asked: Callable[[], str | None], writes: AsyncWriter
) -> TrainingResult:
    run, recorder, kept = under_way.prepared, under_way.recorder, under_way.begins.checkpoint
    best, checkpoints = run.folder / "best.pth", checkpoints_of(run)
    if kept is not None:
        kept.restore_best(best)
    memory_format = set_channels_last(run.built.model, run.spec)
    loader, val = _loaders(run, views)
    history: list[EpochMetrics] = []
    pruned: list[str] = []

    def on_epoch(row: EpochMetrics) -> None:
        history.append(row)
        artifacts.write_history(run.folder, history)
        recorder.record(
            Metrics({name: value for name, value in row.items() if name != "epoch"}, step=int(row["epoch"]))
        )
        if under_way.on_row is not None and (words := under_way.on_row(row)):
            pruned.append(words)
            recorder.record(Tags({"flowerml.pruned": words}))

    def on_memory(words: str) -> None:
        logger.warning(f"{words}; the batch and its gradient stay the same")
        recorder.record(Tags({"flowerml.out_of_memory": words}))

    # Both are written beside the training, from copies, best.pth before the state that belongs to it.
    def on_best(candidate: Candidate) -> None:
        copied = replace(candidate, state_dict=copy_to_cpu(candidate.state_dict))
        writes.submit(lambda: _save_best(run, best, copied))

    def on_state(place: Progress, content: StateDict) -> None:
        copied = copy_to_cpu(content)
        writes.submit(lambda: checkpoints.save(place, copied, best))

    return train(
        run.built,
        run.settings,
        run.data.classes,
        loader,
        val,
        device=run.device,
        memory_format=memory_format,
        balance=run.balance,
        callbacks=Callbacks(on_epoch, on_best, on_memory, on_state, asked, lambda: "".join(pruned[:1])),
        load_state=kept.load if kept is not None else None,
    )


def _loaders(run: Prepared, views: Views) -> tuple[Loader, Loader | None]:
    """What to train on and, where some was held out, what to validate on."""
    size, pin, workers = run.settings.batch_size, run.device.type == "cuda", views.workers
    repeats = [run.balance.repeats[example.label] for example in views.train]
    train_loader = training_loader(
        views.train,
        views.train_transform,
        batch_size=size,
        workers=workers,
        seed=run.settings.seed,
        repeats=repeats,
        pin=pin,
    )
    if not views.val:
        return train_loader, None
    return train_loader, evaluation_loader(views.val, views.eval_transform, batch_size=size, workers=workers, pin=pin)


def _save_best(run: Prepared, path: Path, candidate: Candidate) -> None:
    metrics: dict[str, float] = {}
    if candidate.result is not None:
        result = candidate.result
        metrics = {"val_accuracy": result.accuracy, "val_macro_f1": result.macro_f1, "val_loss": result.loss}
        metrics["val_mean_recall"] = result.mean_recall
    checkpoint = Checkpoint(
        state_dict=candidate.state_dict,
        spec=run.spec,
        classes=run.data.classes,
        description=run.built.description,
        epoch=candidate.epoch,
        metrics=metrics,
        settings=run.settings.model_dump(mode="json"),
        split=run.data.split.as_json(),
        prior=run.balance.prior,
    )
    save_checkpoint(path, checkpoint)


def _test_examples(run: Prepared) -> list[Example]:
    if run.settings.test_dir is None:
        return []
    examples, remarks = run.task.test_examples(
        Path(run.settings.test_dir), run.data.classes, run.data.split, run.settings, run.settings.bad_images
    )
    for remark in remarks:
        logger.warning(f"test folder {run.settings.test_dir}: {remark}")
    return examples


def _beginning(run: Prepared, labels: Mapping[str, str]) -> Iterator[Event]:
    yield Tags({**tags(run), **labels})
    yield Params(as_params(run.settings))
    yield DatasetInput("train", run.digests.data, str(Path(run.settings.train_dir).resolve()), "training")
    balance = run.balance
    yield Metrics({"effective_imbalance": balance.effective_imbalance, "effective_ratio": balance.effective_ratio})
