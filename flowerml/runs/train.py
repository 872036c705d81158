"""A training run: acquire the lease, train or resume, evaluate, write artifacts, record the final status."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.data.loader import Example
from flowerml.errors import Stopped, UserError, one_line
from flowerml.events import Artifact, Event, Metrics, Params, Recorder, Tags
from flowerml.journal import JOURNAL
from flowerml.models.builders import set_channels_last
from flowerml.process.peak_memory import PeakMemory
from flowerml.runs.best_weights import BestWeights, best_file, best_kept_of_failed
from flowerml.runs.lifecycle.lease import HEARTBEATS_PER_LEASE, Lease, acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.reap import complete_finished_run
from flowerml.runs.lifecycle.run_file import RunFile, clear_folder, read_run_file, restore_run_file, write_run_file
from flowerml.runs.lifecycle.stop_request import StopRequest, find_launcher, graceful, handle_signals, watch_run
from flowerml.runs.lifecycle.termination import finalize_run_status
from flowerml.runs.loading.frozen_loaders import frozen_features, frozen_loaders
from flowerml.runs.loading.loaders import make_loaders, make_views
from flowerml.runs.outputs import artifacts
from flowerml.runs.outputs.dataset_inputs import dataset_inputs
from flowerml.runs.outputs.epoch_images import EpochImages, clear_images
from flowerml.runs.outputs.finalize import RunResult, finalize_run
from flowerml.runs.outputs.kept_epochs import clear_epochs, keep_epoch
from flowerml.runs.outputs.run_header import print_header
from flowerml.runs.outputs.slow_loading import SlowLoading
from flowerml.runs.outputs.system_metrics import system_metrics
from flowerml.runs.outputs.tags_and_note import run_tags
from flowerml.runs.prepare import Prepared, prepare
from flowerml.runs.ranks.launch import joined_ranks
from flowerml.runs.resume import StartPoint, checkpoints_of, find_existing_run, find_start_point
from flowerml.settings import Settings
from flowerml.settings.serialization import as_params
from flowerml.tasks import FrozenFeatures, Views
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.async_writer import AsyncWriter, async_writer
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from flowerml.training.checkpoints.progress import Progress, StateDict, copy_to_cpu
from flowerml.training.device import threads_for_steps
from flowerml.training.distributed.ranks import Ranks
from flowerml.training.distributed.torchrun import Torchrun
from flowerml.training.length.run_length import RunLength
from flowerml.training.length.time_limit import TimeLimit
from flowerml.training.performance.utilization import utilization
from flowerml.training.train import train

logger = logging.getLogger(__name__)

# Arguments: settings, experiment, run name, the attempt's folder, and the folder of the attempt it resumes or None.
OpenRecorder = Callable[[Settings, str, str, Path, Path | None], Recorder]


def run_training(
    settings: Settings,
    open_recorder: OpenRecorder,
    *,
    labels: Mapping[str, str] | None = None,
    on_row: Callable[[EpochMetrics], str] | None = None,
    torchrun: Torchrun | None = None,
    calibration_folders: Sequence[Path] = (),
    on_prepared: Callable[[Prepared], None] | None = None,
    shared_backbone: Path | None = None,
) -> RunResult:
    """Prepare, train (from the latest checkpoint of an earlier lease, if any), evaluate, write all artifacts.

    `open_recorder` is called after all checks. `labels` are additional tags, which override the run's own. `on_row` is
    called after each epoch; a reason that it returns ends the run as FINISHED there, with the tag flowerml.pruned.
    With `settings.gpus` above 1 other processes train along: those of `torchrun`, or else they are started here.
    `calibration_folders` hold the predictions.csv of runs of this configuration with validation photos: they calibrate
    a run without (`val_split` 0). `on_prepared` is called when data, weights and model are there, before anything is
    written. A linear probe with `shared_backbone` keeps its backbone once in that folder, and its head in `best.pth`.

    Raises:
        UserError: wrong settings, data, weights or folder, or a lease held by another process (nothing was started), or
            RunFailed (the run is FAILED).
        LeaseLost: another process has taken the run over.
        KeyboardInterrupt: a stop was requested; the run is KILLED, and resumes when it is started again.
    """
    launcher = find_launcher(stops=settings.on_launcher_death == "stop")
    run = replace(prepare(settings, torchrun), shared_backbone=shared_backbone)
    if on_prepared is not None:
        on_prepared(run)
    test_examples = _test_examples(run)
    complete_finished_run(run.folder)
    find_existing_run(run)  # raises before anything is written
    lease = acquire(run.folder, run.settings.lease_seconds)
    stop = StopRequest()
    with (
        fenced_writes(lease),
        handle_signals(stop),
        watch_run(lease.heartbeat, run.settings.lease_seconds / HEARTBEATS_PER_LEASE, stop, launcher),
    ):
        start, recorder = _open_recorder(run, lease, open_recorder)

        def clean_up() -> None:
            checkpoints_of(run).clear()
            clean_fenced(lease)

        with finalize_run_status(run.folder, run.config_id, run.settings.seed, recorder, stop, clean_up):
            training = _TrainingRun(run, recorder, start, stop, labels or {}, on_row, torchrun)
            with system_metrics(recorder, run.device, lease.owner.token):
                finished = _execute(training, test_examples, calibration_folders)
    return replace(finished, run_id=recorder.run_id)


def _open_recorder(run: Prepared, lease: Lease, open_recorder: OpenRecorder) -> tuple[StartPoint, Recorder]:
    """The run's start point and its recorder. Where it can't begin, the attempt is withdrawn.

    One that is interrupted once it has a journal stays, as KILLED: its MLflow run may exist, and goes on with the next.
    """
    assert run.settings.experiment is not None
    assert run.settings.run_name is not None
    existing, run_id = read_run_file(run.folder), ""
    try:
        start = find_start_point(run)
        print_header(run, start.remark)
        earlier = lease.previous if start.same_run else None
        # Before the MLflow run is created: a process that is killed in between leaves a run that can be continued.
        if existing is not None and start.same_run:
            run_id = existing.run_id
        write_run_file(run.folder, RunFile(run_id, run.config_id, run.settings.seed, "RUNNING"))
        return start, open_recorder(run.settings, run.settings.experiment, run.settings.run_name, lease.folder, earlier)
    except BaseException as error:
        has_journal = (lease.folder / JOURNAL).exists()
        stays = isinstance(error, KeyboardInterrupt) and has_journal and not run.settings.overwrite
        left = existing
        if stays and (existing is None or existing.status == "RUNNING"):
            left = RunFile(run_id, run.config_id, run.settings.seed, "KILLED")
        with suppress(UserError):  # the error that is on its way says more
            restore_run_file(run.folder, left)
        if not stays:
            lease.withdraw()
        raise


@dataclass(frozen=True)
class _TrainingRun:
    """What the steps of a run share."""

    prepared: Prepared
    recorder: Recorder
    start: StartPoint
    stop: StopRequest
    labels: Mapping[str, str]
    on_row: Callable[[EpochMetrics], str] | None
    torchrun: Torchrun | None


def _execute(
    training: _TrainingRun, test_examples: Sequence[Example], calibration_folders: Sequence[Path]
) -> RunResult:
    run, recorder, start = training.prepared, training.recorder, training.start
    limit = TimeLimit(run.settings.max_minutes * 60) if run.settings.max_minutes else None  # begins here
    checkpoints = checkpoints_of(run)
    if run.settings.overwrite or start.starts_over:
        clear_folder(run.folder)
        clear_epochs(run.folder)
        clear_images(run.folder)
    if start.checkpoint is None:
        checkpoints.clear()
    tags = run_tags(run)
    for event in _start_events(run, {**tags, **training.labels}, test_examples):
        recorder.record(event)
    for path in artifacts.write_start_files(run):
        recorder.record(Artifact(path))
    views = make_views(run)
    position = None if start.checkpoint is None else start.checkpoint.progress
    if position is None and run.settings.head_init == "text":
        from flowerml.runs.text_head import start_from_text  # open_clip takes seconds

        if metrics := start_from_text(run, views):
            recorder.record(Metrics(metrics))
    features = frozen_features(run, views, position)
    with (
        best_kept_of_failed(run, views),
        graceful(training.stop) as stop_reason,
        async_writer() as writer,
        async_writer("pictures") as picture_writer,
        joined_ranks(run, position, stop_reason, training.torchrun) as ranks,
    ):
        memory, loading = PeakMemory(run.device), SlowLoading(run)
        images = EpochImages(run, recorder, picture_writer)
        outcome = _train_model(training, views, features, stop_reason, writer, ranks, limit, loading, images)
        assert outcome.length is not None
        used = utilization(
            outcome.history,
            run.settings,
            int(tags["flowerml.multiply_adds"]),
            run.device,
            frozen_epochs=outcome.length.frozen_epochs,
        )
        if measured := {**memory.read(), **used, **loading.metrics}:
            recorder.record(Metrics(measured))
    best = BestWeights(run, views)
    if reason := training.stop.reason:  # requested after the last step
        best.write()
        raise Stopped(reason)
    return finalize_run(run, recorder, outcome, best, views, test_examples, calibration_folders)


def _train_model(
    training: _TrainingRun,
    views: Views,
    features: FrozenFeatures | None,
    stop_reason: Callable[[], str | None],
    writer: AsyncWriter,
    ranks: Ranks,
    limit: TimeLimit | None,
    loading: SlowLoading,
    images: EpochImages,
) -> TrainingResult:
    run, recorder, checkpoint = training.prepared, training.recorder, training.start.checkpoint
    best, checkpoints = best_file(run, views), checkpoints_of(run)
    if checkpoint is not None:
        checkpoint.restore_best(best)
    memory_format = set_channels_last(run.built.model, run.spec)
    loader, val = make_loaders(run, views, ranks.share)
    history: list[EpochMetrics] = []
    pruned: list[str] = []

    def on_epoch(row: EpochMetrics) -> None:
        history.append(row)
        artifacts.write_history(run.folder, history)
        recorder.record(
            Metrics({name: value for name, value in row.items() if name != "epoch"}, step=int(row["epoch"]))
        )
        if training.on_row is not None and (words := training.on_row(row)):
            pruned.append(words)
            recorder.record(Tags({"flowerml.pruned": words}))

    def on_memory(words: str) -> None:
        logger.warning(f"{words}; the batch and its gradient stay the same")
        recorder.record(Tags({"flowerml.out_of_memory": words}))

    def on_length(length: RunLength) -> None:
        tags = {"flowerml.fitted_epochs": length.in_epochs, "flowerml.fitted_steps": length.as_text()}
        recorder.record(Tags(tags))

    # Both are written in a background thread, from copies in host memory; best.pth before the state that refers to it.
    def on_best(candidate: Candidate) -> None:
        copied = replace(candidate, state_dict=copy_to_cpu(candidate.state_dict))
        writer.submit(lambda: save_checkpoint(best, _as_checkpoint(run, copied)))

    def on_weights(candidate: Candidate) -> None:
        if views.features is None:
            images.record_mistakes(candidate)
        if not run.settings.keep_epochs:
            return
        copied = replace(candidate, state_dict=copy_to_cpu(candidate.state_dict))
        writer.submit(lambda: keep_epoch(run.folder, _as_checkpoint(run, copied), run.settings.keep_epochs))

    def on_state(progress: Progress, state: StateDict) -> None:
        copied = copy_to_cpu(state)
        writer.submit(lambda: checkpoints.save(progress, copied, best))

    built = run.built
    threads: AbstractContextManager[None] = nullcontext()
    if views.features is not None:
        built = run.built.only_head()
        weights = sum(parameter.numel() for parameter in built.model.parameters())
        threads = threads_for_steps(run.device, weights * run.settings.batch_size)
    with threads:
        return train(
            built,
            run.settings,
            run.data.classes,
            loader,
            val,
            device=run.device,
            memory_format=memory_format,
            balance=run.balance,
            callbacks=Callbacks(
                on_epoch,
                on_best,
                on_memory,
                on_state,
                stop_reason,
                early_stop_reason=lambda: "".join(pruned[:1]),
                waiting=training.stop.interruptible,
                on_weights=on_weights,
                on_batch=images.record_batch,
                on_length=on_length,
                on_data_wait=loading if views.features is None else None,
            ),
            load_state=checkpoint.load if checkpoint is not None else None,
            ranks=ranks,
            frozen_loaders=frozen_loaders(run, views, features, loader, ranks.share),
            time_limit=limit,
        )


def _as_checkpoint(run: Prepared, candidate: Candidate) -> Checkpoint:
    return Checkpoint(
        state_dict=candidate.state_dict,
        spec=run.spec,
        classes=run.data.classes,
        description=run.built.description,
        epoch=candidate.epoch,
        metrics=candidate.result.as_metrics() if candidate.result is not None else {},
        settings=run.settings.model_dump(mode="json"),
        split=run.data.split.as_json(),
        prior=run.balance.prior,
    )


def _test_examples(run: Prepared) -> list[Example]:
    if run.settings.test_dir is None:
        return []
    examples, remarks = run.task.test_examples(
        Path(run.settings.test_dir), run.data.classes, run.data.split, run.settings, run.settings.bad_images
    )
    for remark in remarks:
        logger.warning(one_line(f"test folder {run.settings.test_dir}: {remark}"))
    return examples


def _start_events(run: Prepared, tags: Mapping[str, str], test_examples: Sequence[Example]) -> Iterator[Event]:
    yield Tags(tags)
    yield Params(as_params(run.settings))
    yield from dataset_inputs(run, test_examples)
    balance = run.balance
    yield Metrics({"effective_imbalance": balance.effective_imbalance, "effective_ratio": balance.effective_ratio})
