"""The protocol of a task, and the data it gives to training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch
from PIL import Image

from flowerml.data.balance import Balance
from flowerml.data.loader import Example, Transform
from flowerml.data.scan import BadFile, Picture
from flowerml.data.splits.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.pairs.pair_baselines import BaselineResult
from flowerml.models import BuiltModel
from flowerml.settings import ModelSpec, Settings


@dataclass(frozen=True)
class TaskData:
    """A task's data, ready for training: split, examples of both parts, files left out (`bad`), remarks for the log.

    `pictures` are what the scan found by example id, for a cache of them; empty where a task has none.
    """

    classes: tuple[str, ...]
    split: Split
    train: Sequence[Example]
    val: Sequence[Example]
    bad: tuple[BadFile, ...]
    remarks: tuple[str, ...]
    pictures: Mapping[str, Picture] = field(default_factory=dict)


Predict = Callable[[Sequence[Example]], Predictions]  # predictions of the best weights for any examples of the task


Features = Callable[[Sequence[Example]], torch.Tensor]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features for the epochs in which the backbone is frozen.

    `views` (R, F) each, of every repeat of the training examples, in order; `val` (N, F), None where nothing was held
    out.
    """

    views: Sequence[torch.Tensor]
    val: torch.Tensor | None


@dataclass(frozen=True)
class Views:
    """Input of the data loaders: examples and transforms for training and evaluation, and the number of workers.

    Where the head alone is trained, on features of whole inputs, `features` gives those (N, F) of any examples; a
    model then gets features and no images. None: it gets what the transforms return. `frozen_features` computes those
    of the epochs with a frozen backbone from the repeats of the training examples; None: these get images too.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    train_transform: Transform
    eval_transform: Transform
    workers: int
    features: Features | None = None
    frozen_features: Callable[[Sequence[int]], FrozenFeatures] | None = None


class Task(Protocol):
    """Everything specific to a task: class names, examples, transforms, model, baselines, and images for reports."""

    @property
    def name(self) -> str:
        """The task's name, also its default MLflow experiment."""
        ...

    @property
    def headline(self) -> Literal["accuracy", "mean_recall"]:
        """The metric that reports show first."""
        ...

    @property
    def noun(self) -> str:
        """What one example is called in texts, singular; its plural has an s."""
        ...

    @property
    def no_label_errors(self) -> str:
        """Why labels are not doubted, as a sentence of a message; empty where they are."""
        ...

    @property
    def no_views(self) -> str:
        """Why there are no test-time views, for a message; empty where there are."""
        ...

    @property
    def no_heat_maps(self) -> str:
        """Why there are no heat maps of a picture, for a message; empty where there are."""
        ...

    def prepare(self, settings: Settings) -> TaskData:
        """Read, check and split `settings.train_dir`. Raises UserError where the folder is not usable."""
        ...

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """All examples under `root`, and remarks on files that changed since `split` was drawn. Raises UserError."""
        ...

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """All examples under `root`, a test folder, and remarks on those that are in the training folder too.

        `bad_images` is "stop", "skip" or None (a command without that flag: as "stop").

        Raises:
            UserError: the folder is not usable, or examples can't be read and `bad_images` is not "skip".
        """
        ...

    def near_duplicates(
        self, root: Path, classes: Sequence[str], split: Split, examples: Sequence[Example]
    ) -> Sequence[int]:
        """A group number for each of `examples` of `root`: those of one group are no independent evidence."""
        ...

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> BuiltModel:
        """Build the classifier. Raises UserError where the model is unknown or its weights do not fit."""
        ...

    def transforms(self, description: InputDescription, settings: Settings) -> tuple[Transform, Transform]:
        """Transforms from an example's raw input to model input: (training, evaluation)."""
        ...

    def views(self, built: BuiltModel, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """Examples and transforms for the loaders; may cache what is the same in every epoch. Raises UserError."""
        ...

    def describe_settings(self, built: BuiltModel, settings: Settings, balance: Balance) -> Sequence[str]:
        """What the settings amount to (class weights, parameters trained), as lines for the run's header."""
        ...

    def fit_baselines(
        self, built: BuiltModel, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """Fit simpler models on the training examples and evaluate them on the validation examples."""
        ...

    def extra_metrics(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """Additional metrics of the best weights; `predictions` are theirs on the validation examples."""
        ...

    def render(self, example: Example) -> Image.Image | None:
        """The image of an example for reports; None where it can't be read any more."""
        ...

    def render_by_id(self, root: Path, name: str) -> Image.Image | None:
        """As `render`, from the folder and the example's id; None where the id is not one of this task.

        Raises:
            BadImage: the image can't be read.
        """
        ...
