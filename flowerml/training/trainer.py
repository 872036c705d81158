"""The training loop, to be read from top to bottom. It sees batches and logits only, whatever the task."""

import logging
import time
from collections.abc import Callable, Iterator

import torch

from flowerml.data.augment.normalize import BatchNormalizer
from flowerml.data.balance import Balance
from flowerml.data.features.loader import FeatureLoaders
from flowerml.data.inputs import Inputs, to_device, to_memory_format
from flowerml.data.loader import Batch, Loader
from flowerml.data.rng import derive_seed
from flowerml.errors import Stopped
from flowerml.evaluation.metrics import compute_metrics, join_predictions
from flowerml.evaluation.predict import predict_all
from flowerml.human_units import duration
from flowerml.models.builders import BuiltModel
from flowerml.models.classifier import Network
from flowerml.reporting.epoch_line import epoch_line
from flowerml.selection.epochs import EarlyStopping, is_better
from flowerml.settings import Settings
from flowerml.training.batch_stream import BatchStream
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.progress import CheckpointInterval, StateDict
from flowerml.training.distributed.ranks import SINGLE, Ranks
from flowerml.training.ema import EMA
from flowerml.training.length.fit import LengthFit
from flowerml.training.length.run_schedule import RunSchedule
from flowerml.training.length.time_limit import TimeLimit
from flowerml.training.length.trial import choose_by_trial
from flowerml.training.lora import LowRankUpdates
from flowerml.training.mixup import Mixer
from flowerml.training.optimizer import learning_rates, make_optimizer, parameter_groups, set_learning_rates
from flowerml.training.performance.compilation import compile_pays
from flowerml.training.schedule import Plateau
from flowerml.training.train_state import EpochTotals, TrainState
from flowerml.training.train_step import PendingStep, make_train_step

logger = logging.getLogger(__name__)


class Trainer:
    """Model, optimizer, schedule, EMA and train step of one run, built from the settings."""

    def __init__(
        self,
        built: BuiltModel,
        settings: Settings,
        classes: tuple[str, ...],
        loader: Loader,
        device: torch.device,
        memory_format: torch.memory_format,
        balance: Balance,
        callbacks: Callbacks,
        ranks: Ranks = SINGLE,
        frozen_loaders: FeatureLoaders | None = None,
        time_limit: TimeLimit | None = None,
    ) -> None:
        self.settings, self.classes, self.loader, self.callbacks = settings, classes, loader, callbacks
        self.frozen_loaders = frozen_loaders
        self.device, self.memory_format, self.ranks = device, memory_format, ranks
        self.model: Network = built.model.to(device)
        ranks.synchronize(self.model, device)
        lora = LowRankUpdates(self.model.backbone, settings.lora_rank, settings.seed) if settings.lora_rank else None
        groups = parameter_groups(
            self.model,
            built.layer_groups,
            lr_head=settings.lr_head,
            lr_backbone=settings.lr_backbone,
            weight_decay=settings.weight_decay,
            llrd=settings.llrd,
            factors=None if lora is None else lora.factors,
        )
        optimizer = self.optimizer = make_optimizer(settings.optimizer, groups, fused=device.type == "cuda")
        if time_limit is None and settings.max_minutes:
            time_limit = TimeLimit(settings.max_minutes * 60)
        self.clock = time.monotonic if time_limit is None else time_limit.clock
        self.fit = LengthFit(settings, len(loader), time_limit, ranks)
        self.plateau = Plateau(settings.plateau_factor, settings.plateau_patience)
        self.ema = EMA(self.model, self.fit.length.total) if settings.ema else None
        self.normalize = BatchNormalizer(built.description, device)
        self.stream = BatchStream(callbacks, ranks)
        self.mixer = Mixer(settings.mixup, settings.cutmix, len(classes))
        self.train_step = make_train_step(
            self.model, optimizer, settings, balance, device, callbacks.on_memory, loader.smallest_batch, ranks, lora
        )
        stopping = EarlyStopping(settings.patience, settings.min_epochs, settings.monitor)
        self.result = TrainingResult(cuts=self.plateau.cuts)
        self.state = TrainState(self.model, optimizer, self.train_step, self.ema, self.plateau, stopping, self.result)
        self.state.fit = self.fit
        self.schedule = RunSchedule(settings, self.fit, self.ema, self.result, callbacks.on_length)
        self.may_compile, self.is_replicated = settings.compile is None, False
        self.pending: tuple[PendingStep, int] | None = None  # the step queued last, and its number of images
        every_steps, every_minutes = settings.checkpoint_every_steps, settings.checkpoint_every_minutes
        self.checkpoint_interval = CheckpointInterval(every_steps, every_minutes)

    def run_epochs(self, val_loader: Loader | None) -> TrainingResult:
        """Train and evaluate epoch by epoch until the last one or an early stop."""
        for loader in (self.loader, val_loader):
            if loader is not None:
                loader.start_workers()
        state, result, callbacks = self.state, self.result, self.callbacks
        if self.fit.is_due:
            batches = 0 if val_loader is None else len(val_loader)
            choose_by_trial(self.fit, state, self.settings, self._trial_steps, batches)
            self.schedule.follow_new()
        first, started = state.epoch, time.monotonic()
        began = self.clock()
        while state.epoch <= self.schedule.last_epoch and not result.stop_cause:
            epoch, seconds_before = state.epoch, state.totals.seconds
            metrics = self.train_epoch(epoch, val_loader)
            if epoch < self.schedule.last_epoch and self.feature_loaders(epoch + 1) is None:
                self.stream.prefetch(self.loader, self.check_stop, epoch + 1)
            candidate = self.evaluate(epoch, val_loader, metrics)
            between = self.clock() - began - (state.totals.seconds - seconds_before)
            began = self.clock()
            self.schedule.refit(epoch, state.totals.steps, state.totals.seconds / state.totals.steps, between)
            last = self.schedule.last_epoch
            result.history.append(metrics)
            callbacks.on_epoch(metrics)
            if callbacks.on_data_wait is not None and self.stream.data_wait.total_s:
                callbacks.on_data_wait(self.stream.data_wait)
            is_best = self.update_best(candidate, last)
            if callbacks.on_weights is not None:
                callbacks.on_weights(candidate)
            seconds_per_epoch = (time.monotonic() - started) / (epoch - first + 1)
            logger.info(epoch_line(metrics, last, is_best=is_best, left=seconds_per_epoch * (last - epoch)))
            early = self.ranks.from_first(callbacks.early_stop_reason())
            result.stop_cause = stop_cause(candidate, last, self.fit.end, state.stopping) or early
            self.compile_if_it_pays(last - epoch)
            state.epoch, state.totals = epoch + 1, EpochTotals()
            self.save_checkpoint()
        if self.fit.limit is not None:
            logger.info(f"training has ended after {self.fit.limit.spent:.0f} s of the {self.fit.limit.seconds:.0f} s")
        self.model.inputs_are_features = False  # whoever takes the trained model next gives it images
        return result

    def train_epoch(self, epoch: int, val_loader: Loader | None) -> EpochMetrics:
        """Run the steps of an epoch that are left. Returns means over images (loss) and over steps (gradient norm)."""
        totals = self.state.totals
        was_frozen = self.model.frozen
        self.prepare_epoch(epoch)
        self.model.train()
        if not self.is_replicated or self.model.frozen != was_frozen:
            self.train_step.replicate(self.model)
            self.is_replicated = True
        seconds_before, started = totals.seconds, self.clock()
        is_cut_off = self.schedule.is_cut_off(epoch, totals.steps)
        batches = () if is_cut_off else self._batches(epoch, totals.steps, val_loader)
        for step, batch in enumerate(batches, start=totals.steps):
            queued = self.train_batch(epoch, step, batch, None if step else self.callbacks.on_batch)

            # totals of the step before, which the GPU has finished by now: it is never without work
            self.add_to_totals()
            self.pending = queued, self.loader.sizes[step]

            # length of the run, checkpoint, stop request
            totals.seconds = seconds_before + self.clock() - started
            steps_done = (epoch - 1) * len(self.loader) + step + 1
            if self.fit.is_due_within(steps_done):
                self.schedule.refit(epoch, step + 1, totals.seconds / (step + 1))
            if self.checkpoint_interval.is_due(steps_done):
                self.save_checkpoint()
            if not self.ranks.are_several:
                self.check_stop()
            if self.schedule.is_cut_off(epoch, step + 1):
                break
        self.add_to_totals()
        totals.seconds = seconds_before + self.clock() - started
        return {
            "epoch": float(epoch),
            "train_loss": totals.loss / totals.pictures,
            **learning_rates(self.optimizer),
            "grad_norm": totals.norm / max(1, totals.counted),
            "images_per_second": totals.pictures / totals.seconds,
        }

    def train_batch(
        self, epoch: int, step: int, batch: Batch, on_batch: Callable[[int, Inputs], None] | None = None
    ) -> PendingStep:
        """Take the step of a batch; on a GPU it is queued only. `on_batch` gets the batch as the model gets it."""
        inputs, labels, ids = batch
        # learning rates of this step
        factor = self.schedule.factor((epoch - 1) * len(self.loader) + step)
        set_learning_rates(self.optimizer, factor, self.plateau.scale, self.settings.min_lr)

        # copy to the device (asynchronous from pinned memory), normalise uint8, mixup or cutmix of the whole batch
        inputs, labels = to_device(inputs, self.device), labels.to(self.device, non_blocking=True)
        inputs, targets = self._mix(inputs, labels, epoch, step)
        inputs = to_memory_format(inputs, self.memory_format)
        if on_batch is not None:
            on_batch(epoch, inputs)

        # forward, backward, unscale and clip, optimizer step
        shown = f"pictures{self.ranks.whose} {', '.join(ids)}"
        context = f"epoch {epoch}, step {step + 1}, {self._rates_text()}, {shown}"
        count = self.loader.sizes[step]
        queued = self.train_step.queue(inputs, targets, self._step_seed(epoch, step), context, count)

        # EMA: one more pass over all weights, on the device, without a sync point
        if self.ema is not None:
            self.ema.update(self.model)
        return queued

    def _trial_steps(self, epoch: int) -> Iterator[None]:
        """The steps of an epoch, for `choose_by_trial`, which undoes them."""
        self.prepare_epoch(epoch)
        self.model.train()
        self.train_step.replicate(self.model)
        self.is_replicated = False  # what these steps train may not be what the run's first step does
        features = self.feature_loaders(epoch)
        loader = self.loader if features is None else features.train
        for step, batch in enumerate(loader.epoch(epoch)):
            self.train_batch(epoch, step, batch).read()
            yield
            if not self.ranks.are_several and self.callbacks.stop_reason():  # the run's first step heeds it
                return

    def _mix(self, inputs: Inputs, labels: torch.Tensor, epoch: int, step: int) -> tuple[Inputs, torch.Tensor]:
        """Normalised inputs and their targets: mixup or cutmix of the whole batch, of which a rank has its share."""
        if not self.mixer.mixes:
            return self.normalize(inputs), labels
        inputs, labels = self.ranks.whole_batch(inputs, labels, self.loader.sizes[step])
        return self.ranks.own_part(*self.mixer(self.normalize(inputs), labels, self.settings.seed, epoch, step))

    def _step_seed(self, epoch: int, step: int) -> int:
        """The seed of dropout and stochastic depth: ranks draw for different examples."""
        rank = (self.ranks.rank,) if self.ranks.rank else ()  # a single process has drawn without it ever since
        return derive_seed(self.settings.seed, "step", epoch, step, *rank)

    def add_to_totals(self) -> None:
        """Read loss and norm of the step that was queued last, and add them to the totals. Raises NotFinite."""
        if self.pending is None:
            return
        (queued, pictures), self.pending = self.pending, None
        loss, norm = queued.read()  # sync point: one step late in an epoch, at once before a checkpoint
        self.state.totals.add(loss, norm, pictures)

    def prepare_epoch(self, epoch: int) -> None:
        """Freeze the backbone in the first epochs, mix all but the last; prepare for features, if any, or images."""
        on_features = self.feature_loaders(epoch) is not None
        is_frozen, is_mixed = epoch <= self.fit.length.frozen_epochs, self.fit.length.is_mixed(epoch)
        self.model.set_frozen(frozen=is_frozen, inputs_are_features=on_features)
        mixup = self.settings.mixup if is_mixed else 0.0
        cutmix = self.settings.cutmix if is_mixed and not on_features else 0.0  # features have no boxes to exchange
        self.mixer = Mixer(mixup, cutmix, len(self.classes))

    def feature_loaders(self, epoch: int) -> FeatureLoaders | None:
        """Loaders of features, for an epoch with a frozen backbone; None for one on images."""
        return self.frozen_loaders if epoch <= self.fit.length.frozen_epochs else None

    def evaluate(self, epoch: int, loader: Loader | None, metrics: EpochMetrics) -> Candidate:
        """Evaluate the weights that would be saved (the EMA's, if there is one), in the training's own precision.

        Adds the val metrics to `metrics`.
        """
        model = self.ema.module if self.ema is not None else self.model
        if loader is None:
            return Candidate(epoch, model.state_dict(), None, None)
        evaluated, features = model, self.feature_loaders(epoch)
        if features is not None and features.val is not None:
            evaluated, loader = model.get_submodule("head"), features.val
        self.ranks.share_buffers(model)
        batches = self.stream.for_evaluation(loader, self.check_stop, epoch)
        # sync point: one per evaluation, when all logits are copied to the CPU
        predictions = predict_all(
            evaluated, batches, self.classes, self.device, self.memory_format, self.train_step.dtype
        )
        predictions = join_predictions(self.ranks.all_values(predictions))
        val = compute_metrics(predictions)
        metrics |= {"val_loss": val.loss, "val_accuracy": val.accuracy, "val_macro_f1": val.macro_f1}
        metrics["val_mean_recall"] = val.mean_recall
        if self.settings.scheduler == "plateau":
            self.plateau.observe(epoch, val.loss)
        return Candidate(epoch, model.state_dict(), val.as_epoch_result(epoch), predictions)

    def compile_if_it_pays(self, epochs_left: int) -> None:
        """Compile the model where `compile` is auto (on a GPU) and the epoch just trained shows that it saves time."""
        left = epochs_left * self.state.totals.seconds
        if not self.may_compile or not self.ranks.from_first(compile_pays(left)):
            return
        self.may_compile = False  # once, also where it fails
        if self.train_step.compile():
            logger.info(f"compiling the model for the {duration(left)} of training that are left (--no-compile: never)")

    def update_best(self, candidate: Candidate, last: int) -> bool:
        """Whether an epoch is the best so far; `on_best` is then called (without validation, for the last one only)."""
        best = self.result.best
        leader = best.result if best else None
        is_best = candidate.result is None or is_better(candidate.result, leader, self.settings.monitor)
        if is_best and (candidate.result is not None or candidate.epoch == last):
            self.callbacks.on_best(candidate)  # sync point: it copies the weights to the CPU
            self.result.best = Candidate(candidate.epoch, {}, candidate.result, candidate.predictions)
        return is_best

    def resume(self, state_dict: StateDict) -> None:
        """Continue from a saved state; `on_epoch` is called for the epochs before it."""
        self.state.load_state_dict(state_dict)
        self.schedule.follow()
        if self.train_step.accumulate > self.settings.accumulate:
            self.callbacks.on_memory(
                f"memory ran out in an earlier try: going on with each batch in {self.train_step.accumulate} parts"
            )
        for metrics in self.result.history:
            self.callbacks.on_epoch(metrics)

    def save_checkpoint(self) -> None:
        """Call `on_state` with the current state. Sync point: it copies weights, EMA and optimizer state to the CPU."""
        self.add_to_totals()
        self.callbacks.on_state(self.state.progress, self.state.state_dict())
        self.checkpoint_interval.restart()

    def check_stop(self) -> None:
        """Save a checkpoint and raise Stopped if a stop was requested. Call it only between steps.

        All ranks must call it with several of them: a stop requested of one is one of all.
        """
        reason = self.callbacks.stop_reason()
        if self.ranks.any(flag=reason is not None):
            self.save_checkpoint()
            raise Stopped(reason or "another process of this training was stopped")

    def _batches(self, epoch: int, skip: int, val_loader: Loader | None) -> Iterator[Batch]:
        features = self.feature_loaders(epoch)
        loader, steps = self.loader, self.fit.length.steps_of(epoch) - skip
        if features is not None:
            loader, val_loader = features.train, features.val
        return self.stream.for_training(
            loader, self.check_stop, epoch, val_loader, skip=skip, steps=steps, are_images=features is None
        )

    def _rates_text(self) -> str:
        return ", ".join(f"{name} {rate:.3g}" for name, rate in learning_rates(self.optimizer).items())


def stop_cause(candidate: Candidate, last: int, end: str, stopping: EarlyStopping) -> str:
    """Why this epoch was the last one, `end` after the `last`; empty if it was not."""
    stops_early = candidate.result is not None and stopping.stop_after(candidate.result)
    if candidate.epoch == last:
        return end
    if not stops_early:
        return ""
    moved = "fallen" if stopping.monitor == "val_loss" else "risen"
    cause = f"stopped after epoch {candidate.epoch}: {stopping.monitor} has not {moved} for {stopping.without} epochs"
    logger.info(cause)
    return cause
