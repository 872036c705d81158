"""A toy that trains in milliseconds: three classes of noise images, a one-convolution network, the real trainer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import nn

from flowerml.data.balance import Balance
from flowerml.data.loader import Example, evaluation_loader, training_loader
from flowerml.data.transforms import InputDescription
from flowerml.models import BuiltModel, Classifier
from flowerml.runs.lifecycle.stop_request import StopRequest
from flowerml.settings import Settings, resolve
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.progress import Progress, StateDict
from flowerml.training.distributed.ranks import SINGLE, Ranks
from flowerml.training.length.run_length import RunLength
from flowerml.training.length.time_limit import TimeLimit
from flowerml.training.performance.data_wait import DataWait
from flowerml.training.train import train

CLASSES = ("a", "b", "c")
SIZE = 8
# Nothing random but the data order; a test changes only what it is about.
PLAIN = {
    "model": "convnextv2_atto",
    "epochs": 3,
    "batch_size": 8,
    "lr_head": 0.02,
    "lr_backbone": 0.01,
    "weight_decay": 0.01,
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "freeze_backbone_epochs": 0,
    "amp": False,
    "patience": 0,
    "dropout": 0.0,
    "drop_path": 0.0,
}


def tiny_backbone() -> nn.Module:
    """Pooled features (N, 8) of pictures (N, 3, S, S); no batch-norm, so that a batch and its parts give the same."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def tiny_built(dropout: float = 0.0, start: int = 0) -> BuiltModel:
    """The toy's classifier, always from the same random start."""
    with torch.random.fork_rng():
        torch.manual_seed(start)
        backbone = tiny_backbone()
        model = Classifier(backbone, 8, len(CLASSES), dropout)
    description = InputDescription(SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 1.0)
    return BuiltModel(model, description, [[name for name, _ in backbone.named_parameters()]], ())


def make_image(number: int, label: int) -> torch.Tensor:
    """Noise whose channel `label` is a little brighter."""
    generator = torch.Generator().manual_seed(number)
    noise = torch.randn(3, SIZE, SIZE, generator=generator)
    noise[label] += 0.4
    return noise


def examples(count: int, *, first: int = 0, random_labels: bool = False) -> list[Example]:
    """`count` examples, classes in turn; with `random_labels` labels are independent of the images."""
    made = []
    for number in range(first, first + count):
        label = number % 3
        shown = (number * 7 + number // 3) % 3 if random_labels else label
        made.append(Example(f"picture-{number}", label, partial(make_image, number, shown)))
    return made


def identity(raw: torch.Tensor) -> torch.Tensor:
    """The identity, as a transform."""
    return raw


def same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(right[name], tensor) for name, tensor in left.items())


def weights_of(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The part of a state dict under a prefix (backbone or head)."""
    return {key: tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}


@dataclass
class Trained:
    """The result of a training and what its callbacks got: metrics per epoch, and copies of the best weights."""

    built: BuiltModel
    settings: Settings
    outcome: TrainingResult | None = None
    rows: list[EpochMetrics] = field(default_factory=list)
    bests: list[Candidate] = field(default_factory=list)
    after: list[dict[str, torch.Tensor]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def weights(self) -> dict[str, torch.Tensor]:
        """The raw weights as they are now."""
        return {name: tensor.clone() for name, tensor in self.built.model.state_dict().items()}

    def metrics(self) -> list[EpochMetrics]:
        """The metrics per epoch without timing."""
        return [{name: value for name, value in row.items() if name != "images_per_second"} for row in self.rows]


@dataclass
class Toy:
    """Runs the real loop on the toy. `val` 0 means without validation pictures."""

    train_count: int = 27
    val_count: int = 12

    def run(
        self,
        *,
        built: BuiltModel | None = None,
        pictures: list[Example] | None = None,
        val: list[Example] | None = None,
        workers: int = 0,
        class_weights: tuple[float, ...] | None = None,
        counts: tuple[int, ...] = (9, 9, 9),
        on_epoch: Callable[[EpochMetrics], None] | None = None,
        on_state: Callable[[Progress, StateDict], None] = lambda _progress, _state: None,
        load_state: Callable[[], StateDict] | None = None,
        into: list[Trained] | None = None,
        stop: StopRequest | None = None,
        ranks: Ranks = SINGLE,
        time_limit: TimeLimit | None = None,
        on_length: Callable[[RunLength], None] = lambda _length: None,
        stop_reason: Callable[[], str | None] | None = None,
        on_data_wait: Callable[[DataWait], None] | None = None,
        **changes,
    ) -> Trained:
        """Train with PLAIN settings and `changes`; `into` receives the record before training begins."""
        settings, _ = resolve({**PLAIN, **changes})
        stop = stop or StopRequest()
        trained = Trained(built or tiny_built(dropout=settings.dropout), settings)
        if into is not None:
            into.append(trained)
        loader = training_loader(
            examples(self.train_count) if pictures is None else pictures,
            identity,
            batch_size=settings.batch_size,
            workers=workers,
            seed=settings.seed,
            share=ranks.share,
        )
        shown = examples(self.val_count, first=1000) if val is None else val
        shown = shown[ranks.share.of(len(shown))]
        val_loader = evaluation_loader(shown, identity, batch_size=5, workers=workers) if shown else None

        def record_epoch(row: EpochMetrics) -> None:
            trained.rows.append(dict(row))
            trained.after.append(trained.weights())
            if on_epoch is not None:
                on_epoch(row)

        def record_best(candidate: Candidate) -> None:
            state = {name: tensor.clone() for name, tensor in candidate.state_dict.items()}
            trained.bests.append(Candidate(candidate.epoch, state, candidate.result, candidate.predictions))

        trained.outcome = train(
            trained.built,
            settings,
            CLASSES,
            loader,
            val_loader,
            device=torch.device("cpu"),
            memory_format=torch.contiguous_format,
            balance=Balance(CLASSES, counts, (1,) * len(CLASSES), class_weights, settings.logit_adjustment),
            callbacks=Callbacks(
                record_epoch,
                record_best,
                trained.remarks.append,
                on_state,
                stop_reason or (lambda: stop.reason),
                waiting=stop.interruptible,
                on_length=on_length,
                on_data_wait=on_data_wait,
            ),
            load_state=load_state,
            ranks=ranks,
            time_limit=time_limit,
        )
        return trained


@pytest.fixture
def toy() -> Toy:
    """The toy with 27 pictures to train on (the last batch is smaller) and 12 to validate."""
    return Toy()


@pytest.fixture
def make_built() -> Callable[..., BuiltModel]:
    """The toy's classifier, always from the same start."""
    return tiny_built


@pytest.fixture
def make_examples() -> Callable[..., list[Example]]:
    """The toy's pictures."""
    return examples
