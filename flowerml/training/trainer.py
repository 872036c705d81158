"""The training loop, to be read from top to bottom. It sees batches and logits; which task they belong to it does not
ask.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from flowerml.data.balance import Balance
from flowerml.data.inputs import to_device, to_memory_format
from flowerml.data.loader import Batch, Loader
from flowerml.data.rng import seed_of
from flowerml.evaluation.metrics import compute_metrics
from flowerml.evaluation.predict import predict_all
from flowerml.models.builders import Built
from flowerml.models.classifier import Network
from flowerml.progress_bar import track
from flowerml.reporting.epoch_line import epoch_line
from flowerml.selection.epochs import EarlyStopping, is_better
from flowerml.settings import Settings
from flowerml.training.callbacks import Callbacks, Candidate, DataLoaderDied, EpochMetrics, Outcome, Stopped
from flowerml.training.checkpoints.progress import CheckpointInterval, StateDict
from flowerml.training.ema import EMA
from flowerml.training.gc_freeze import frozen_gc
from flowerml.training.mixup import Mixer
from flowerml.training.optimizer import make_optimizer, parameter_groups, rates, set_rates
from flowerml.training.schedule import Plateau, Schedule
from flowerml.training.train_state import EpochTotals, TrainState
from flowerml.training.train_step import make_train_step

logger = logging.getLogger(__name__)


def train(
    built: Built,
    settings: Settings,
    classes: tuple[str, ...],
    train_loader: Loader,
    val_loader: Loader | None,
    *,
    device: torch.device,
    memory_format: torch.memory_format,
    balance: Balance,
    observers: Callbacks,
    resumed: Callable[[], StateDict] | None = None,
) -> Outcome:
    """Train `built.model` in place and return what came of it.

    Without `val_loader` the last epoch counts as the best, and nothing stops early. `resumed` gives what
    `observers.on_state` was told in an earlier try of the same settings: it goes on from there (a call, so that the
    state is in memory for an instant only).

    Raises:
        NotFinite: a loss or gradient is not finite; whatever `observers.on_best` has kept stays valid.
        Stopped: `observers.asked` said so; its state was told to `observers.on_state` before.
    """
    run = Trainer(built, settings, classes, train_loader, device, memory_format, balance, observers)
    if resumed is not None:
        run.resume(resumed())
    with frozen_gc(), _worker_deaths(observers.stop_reason):
        return _all_epochs(run, settings, val_loader)


def _all_epochs(run: "Trainer", settings: Settings, val_loader: Loader | None) -> Outcome:
    observers = run.observers
    state, outcome = run.state, run.state.outcome
    first, last = state.epoch, settings.stop_epoch or settings.epochs
    started = time.monotonic()
    for epoch in range(first, last + 1) if not outcome.ended else ():
        row = run.train_epoch(epoch)
        candidate = run.evaluate(epoch, val_loader, row)
        outcome.history.append(row)
        observers.on_epoch(row)
        is_best = run.update_best(candidate, last)
        elapsed = time.monotonic() - started
        logger.info(epoch_line(row, last, is_best=is_best, left=elapsed / (epoch - first + 1) * (last - epoch)))
        outcome.ended = _why_ended(candidate, last, state.stopping) or observers.early_stop_reason()
        state.epoch, state.totals = epoch + 1, EpochTotals()
        run.save_checkpoint()
        if outcome.ended:
            break
    return outcome


@contextmanager
def _worker_deaths(asked: Callable[[], str | None]) -> Iterator[None]:
    """The death of a process that loads pictures as a line. torch tells it by a signal, wherever the training is at the
    moment.

    Raises:
        LoaderDied: by itself.
        Stopped: the training was asked to stop, by a signal to the whole group which ended that process too.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        if reason := asked():
            raise Stopped(reason) from error
        raise DataLoaderDied(
            f"a process that loads pictures died ({error}). Try fewer with --workers, or --workers 0"
        ) from error


def _why_ended(candidate: Candidate, last: int, stopping: EarlyStopping) -> str:
    """Why this epoch was the run's last one, in words; nothing if it was not."""
    stops = candidate.result is not None and stopping.stop_after(candidate.result)
    if candidate.epoch == last:
        return "all epochs done"
    if not stops:
        return ""
    moved = "fallen" if stopping.monitor == "val_loss" else "risen"
    words = f"stopped after epoch {candidate.epoch}: {stopping.monitor} has not {moved} for {stopping.without} epochs"
    logger.info(words)
    return words


class Trainer:
    """The parts of one training, put together from the settings."""

    def __init__(
        self,
        built: Built,
        settings: Settings,
        classes: tuple[str, ...],
        loader: Loader,
        device: torch.device,
        memory_format: torch.memory_format,
        balance: Balance,
        observers: Callbacks,
    ) -> None:
        self.settings, self.classes, self.loader, self.observers = settings, classes, loader, observers
        self.device, self.memory_format = device, memory_format
        self.model: Network = built.model.to(device)
        groups = parameter_groups(
            self.model,
            built.stages,
            lr_head=settings.lr_head,
            lr_backbone=settings.lr_backbone,
            weight_decay=settings.weight_decay,
            llrd=settings.llrd,
        )
        self.optimizer = make_optimizer(settings.optimizer, groups)
        steps = len(loader)
        self.schedule = Schedule(settings.scheduler, steps * settings.epochs, steps * settings.warmup_epochs)
        self.plateau = Plateau(settings.plateau_factor, settings.plateau_patience)
        self.ema = EMA(self.model, steps * settings.epochs) if settings.ema else None
        self.mixer = Mixer(settings.mixup, settings.cutmix, len(classes))
        self.stepper = make_train_step(self.model, self.optimizer, settings, balance, device, observers.on_memory)
        stopping = EarlyStopping(settings.patience, settings.min_epochs, settings.monitor)
        outcome = Outcome(cuts=self.plateau.cuts)
        self.state = TrainState(self.model, self.optimizer, self.stepper, self.ema, self.plateau, stopping, outcome)
        self.checkpoint_interval = CheckpointInterval(
            settings.checkpoint_every_steps, settings.checkpoint_every_minutes
        )

    def resume(self, content: StateDict) -> None:
        """Go on from a kept state; the observer of epochs hears of those before it."""
        self.state.load_state_dict(content)
        if self.stepper.accumulate > self.settings.accumulate:
            self.observers.on_memory(
                f"memory ran out in an earlier try: going on with each batch in {self.stepper.accumulate} parts"
            )
        for row in self.state.outcome.history:
            self.observers.on_epoch(row)

    def save_checkpoint(self) -> None:
        """Hand the state to whoever keeps it."""
        self.observers.on_state(self.state.progress, self.state.state_dict())
        self.checkpoint_interval.restart()

    def check_stop(self) -> None:
        """Stop, with the state kept, where somebody has asked for it. Between two steps only. Raises Stopped."""
        if reason := self.observers.stop_reason():
            self.save_checkpoint()
            raise Stopped(reason)

    def train_epoch(self, epoch: int) -> EpochMetrics:
        """All steps of one epoch that are left. Returns the row's training part: means over pictures (loss) and steps
        (gradient norm).
        """
        self.model.set_frozen(frozen=epoch <= self.settings.freeze_backbone_epochs)
        self.model.train()
        sums = self.state.totals
        before, started = sums.seconds, time.monotonic()
        for step, (inputs, labels, ids) in enumerate(self._batches(epoch, sums.steps), start=sums.steps):
            done = (epoch - 1) * len(self.loader) + step
            set_rates(self.optimizer, self.schedule.factor(done), self.plateau.scale, self.settings.min_lr)
            there, wanted = to_device(inputs, self.device), labels.to(self.device, non_blocking=True)
            mixed, targets = self.mixer(there, wanted, self.settings.seed, epoch, step)
            mixed = to_memory_format(mixed, self.memory_format)
            where = f"epoch {epoch}, step {step + 1}, {_rates(rates(self.optimizer))}, pictures {', '.join(ids)}"
            loss, norm = self.stepper.step(mixed, targets, seed_of(self.settings.seed, "step", epoch, step), where)
            if self.ema is not None:
                self.ema.update(self.model)
            sums.add(loss, norm, len(ids))
            sums.seconds = before + time.monotonic() - started
            if self.checkpoint_interval.due(done + 1):
                self.save_checkpoint()
            self.check_stop()
        return {
            "epoch": float(epoch),
            "train_loss": sums.loss / sums.pictures,
            **rates(self.optimizer),
            "grad_norm": sums.norm / max(1, sums.counted),
            "images_per_second": sums.pictures / sums.seconds,
        }

    def evaluate(self, epoch: int, loader: Loader | None, row: EpochMetrics) -> Candidate:
        """Evaluate the weights that would be kept (the average's, where there is one); adds the validation part to
        `row`.
        """
        model = self.ema.module if self.ema is not None else self.model
        if loader is None:
            return Candidate(epoch, model.state_dict(), None, None)
        predictions = predict_all(
            model, self._checking_stop(loader.epoch(epoch)), self.classes, self.device, self.memory_format
        )
        scores = compute_metrics(predictions)
        row |= {"val_loss": scores.loss, "val_accuracy": scores.accuracy, "val_macro_f1": scores.macro_f1}
        row["val_mean_recall"] = scores.mean_recall
        if self.settings.scheduler == "plateau":
            self.plateau.observe(epoch, scores.loss)
        return Candidate(epoch, model.state_dict(), scores.at(epoch), predictions)

    def update_best(self, candidate: Candidate, last: int) -> bool:
        """Whether an epoch is the best so far; its observer hears of it then. Without validation the last one counts
        alone.
        """
        best = self.state.outcome.best
        is_best = candidate.result is None or is_better(
            candidate.result, best.result if best else None, self.settings.monitor
        )
        if is_best and (candidate.result is not None or candidate.epoch == last):
            self.observers.on_best(candidate)
            self.state.outcome.best = Candidate(candidate.epoch, {}, candidate.result, candidate.predictions)
        return is_best

    def _batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        try:
            yield from track(
                self.loader.epoch(epoch, skip), f"epoch {epoch}", total=len(self.loader) - skip, log_every_s=120
            )
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                self.check_stop()  # between two steps, so the state can be kept
            raise

    def _checking_stop(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.check_stop()
            yield batch


def _rates(values: EpochMetrics) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
