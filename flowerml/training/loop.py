"""The training loop, to be read from top to bottom. It sees batches and logits; which task they belong to it does not ask."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch

from flowerml.console import duration, say, track
from flowerml.data.balance import Balance
from flowerml.data.keyed import seed_of
from flowerml.data.loading import Batch, Loader
from flowerml.errors import RunFailed
from flowerml.evaluation.predicting import predict_all
from flowerml.evaluation.scores import Predictions, score
from flowerml.models.builders import Built
from flowerml.models.classifier import Classifier
from flowerml.selection.epochs import EarlyStopping, EpochResult, better
from flowerml.settings import Settings
from flowerml.training.averaging import WeightAverage
from flowerml.training.device import autocast_dtype
from flowerml.training.losses import example_losses
from flowerml.training.mixing import Mixer
from flowerml.training.optimizer import make_optimizer, parameter_groups, rates, set_rates
from flowerml.training.schedule import Plateau, Schedule
from flowerml.training.steps import Stepper

Row = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """An epoch that became the best so far: its evaluated weights and what they predicted (None without validation pictures)."""

    epoch: int
    state_dict: dict[str, torch.Tensor]
    result: EpochResult | None
    predictions: Predictions | None


@dataclass
class Outcome:
    """What a finished training leaves: a row per epoch, the best epoch, epochs after which a plateau cut the rates, why it ended."""

    history: list[Row] = field(default_factory=list)
    best: Candidate | None = None
    cuts: list[int] = field(default_factory=list)
    ended: str = "all epochs done"


@dataclass(frozen=True)
class Observers:
    """Who hears of a finished epoch, of an epoch that is the best so far (its weights are only valid during the call), and of memory
    that ran out (in words).
    """

    on_epoch: Callable[[Row], None]
    on_best: Callable[[Candidate], None]
    on_memory: Callable[[str], None]


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
    observers: Observers,
) -> Outcome:
    """Train `built.model` in place and return what came of it.

    Without `val_loader` the last epoch counts as the best, and nothing stops early.

    Raises:
        NotFinite: a loss or gradient is not finite; whatever `observers.on_best` has kept stays valid.
    """
    run = _Run(built, settings, classes, train_loader, device, memory_format, balance, observers.on_memory)
    stopping = EarlyStopping(settings.patience, settings.min_epochs, settings.monitor)
    outcome = Outcome(cuts=run.plateau.cuts)
    last = settings.stop_epoch or settings.epochs
    started = time.monotonic()
    for epoch in range(1, last + 1):
        row = run.train_epoch(epoch)
        candidate = run.evaluate(epoch, val_loader, row)
        outcome.history.append(row)
        observers.on_epoch(row)
        previous = outcome.best.result if outcome.best else None
        is_best = candidate.result is None or better(candidate.result, previous, settings.monitor)
        if is_best and (candidate.result is not None or epoch == last):
            observers.on_best(candidate)
            outcome.best = Candidate(epoch, {}, candidate.result, candidate.predictions)
        elapsed = time.monotonic() - started
        say(_line(row, last, is_best, elapsed / epoch * (last - epoch)))
        if candidate.result is not None and stopping.stop_after(candidate.result) and epoch < last:
            moved = "fallen" if settings.monitor == "val_loss" else "risen"
            outcome.ended = f"stopped after epoch {epoch}: {settings.monitor} has not {moved} for {stopping.without} epochs"
            say(outcome.ended)
            break
    return outcome


class _Run:
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
        on_memory: Callable[[str], None],
    ) -> None:
        self.settings, self.classes, self.loader = settings, classes, loader
        self.device, self.memory_format = device, memory_format
        self.model: Classifier = built.model.to(device)
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
        self.average = WeightAverage(self.model, steps * settings.epochs) if settings.ema else None
        self.mixer = Mixer(settings.mixup, settings.cutmix, len(classes))
        self.stepper = Stepper(
            model=torch.compile(self.model) if settings.compile else self.model,  # type: ignore[arg-type] # a callable module either way
            optimizer=self.optimizer,
            parameters=list(self.model.parameters()),
            device=device,
            dtype=autocast_dtype(device, amp=settings.amp),
            accumulate=settings.accumulate,
            grad_clip=settings.grad_clip,
            losses=partial(
                example_losses,
                smoothing=settings.label_smoothing,
                class_weights=_tensor(balance.weights, device),
                focal_gamma=settings.focal_gamma,
                logit_offsets=_tensor(balance.logit_offsets, device),
            ),
            on_memory=on_memory,
        )

    def train_epoch(self, epoch: int) -> Row:
        """All steps of one epoch. Returns the row's training part: means over pictures (loss) and steps (gradient norm)."""
        self.model.set_frozen(frozen=epoch <= self.settings.freeze_backbone_epochs)
        self.model.train()
        loss_sum = norm_sum = 0.0
        pictures = counted = 0
        started = time.monotonic()
        for step, (inputs, labels, ids) in enumerate(self._batches(epoch)):
            set_rates(
                self.optimizer,
                self.schedule.factor((epoch - 1) * len(self.loader) + step),
                self.plateau.scale,
                self.settings.min_lr,
            )
            moved, wanted = inputs.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            mixed, targets = self.mixer(moved, wanted, self.settings.seed, epoch, step)
            mixed = mixed.contiguous(memory_format=self.memory_format)
            where = f"epoch {epoch}, step {step + 1}, {_rates(rates(self.optimizer))}, pictures {', '.join(ids)}"
            loss, norm = self.stepper.step(mixed, targets, seed_of(self.settings.seed, "step", epoch, step), where)
            if self.average is not None:
                self.average.update(self.model)
            loss_sum += loss * len(ids)
            if math.isfinite(norm):  # fp16 leaves a step out when its scaled gradients overflow
                norm_sum, counted = norm_sum + norm, counted + 1
            pictures += len(ids)
        seconds = time.monotonic() - started
        return {
            "epoch": float(epoch),
            "train_loss": loss_sum / pictures,
            **rates(self.optimizer),
            "grad_norm": norm_sum / max(1, counted),
            "images_per_second": pictures / seconds,
        }

    def evaluate(self, epoch: int, loader: Loader | None, row: Row) -> Candidate:
        """Evaluate the weights that would be kept (the average's, where there is one); adds the validation part to `row`."""
        model = self.average.module if self.average is not None else self.model
        if loader is None:
            return Candidate(epoch, model.state_dict(), None, None)
        predictions = predict_all(model, loader.epoch(epoch), self.classes, self.device, self.memory_format)
        scores = score(predictions)
        row |= {"val_loss": scores.loss, "val_accuracy": scores.accuracy, "val_macro_f1": scores.macro_f1}
        if self.settings.scheduler == "plateau":
            self.plateau.observe(epoch, scores.loss)
        return Candidate(epoch, model.state_dict(), scores.at(epoch), predictions)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        try:
            yield from track(self.loader.epoch(epoch), f"epoch {epoch}", total=len(self.loader), log_every_s=120)
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                raise RunFailed(f"a process that loads pictures died ({error}). Try fewer with --workers, or --workers 0") from error
            raise


def _tensor(values: tuple[float, ...] | None, device: torch.device) -> torch.Tensor | None:
    return None if values is None else torch.tensor(values, device=device)


def _rates(values: Row) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _line(row: Row, last: int, is_best: bool, left: float) -> str:  # noqa: FBT001 - private
    validated = ""
    if "val_accuracy" in row:
        star = " *" if is_best else ""
        validated = f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}  macro-F1 {row['val_macro_f1']:.4f}{star}"
    rest = f"  {duration(left)} left" if left else ""
    return (
        f"epoch {int(row['epoch']):>{len(str(last))}}/{last}  train_loss {row['train_loss']:.4f}{validated}"
        f"  lr {row['lr_head']:.2e} {row['lr_backbone']:.2e}  {row['images_per_second']:.0f} img/s{rest}"
    )
