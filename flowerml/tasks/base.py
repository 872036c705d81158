"""What the engine asks of a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from PIL import Image

from flowerml.data.balance import Balance
from flowerml.data.loader import Example, Transform
from flowerml.data.scan import BadFile
from flowerml.data.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.pair_baselines import BaselineResult
from flowerml.models import Built
from flowerml.settings import ModelSpec, Settings


@dataclass(frozen=True)
class TaskData:
    """A task's data, ready to train on: the split, the examples of both sides, files left out, and remarks for the
    console.
    """

    classes: tuple[str, ...]
    split: Split
    train: Sequence[Example]
    val: Sequence[Example]
    bad: tuple[BadFile, ...]
    remarks: tuple[str, ...]


Predict = Callable[[Sequence[Example]], Predictions]  # the best weights' answers to any examples of the task


@dataclass(frozen=True)
class Views:
    """What a training loads: the examples of both sides, from raw input to the model's for training and for evaluation,
    and how many processes do it.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    to_train: Transform
    to_evaluate: Transform
    workers: int


class Task(Protocol):
    """Class names, examples, transforms, model, pictures for people: everything the loop must be given."""

    @property
    def name(self) -> str:
        """The task's name, also its default MLflow experiment."""
        ...

    @property
    def headline(self) -> Literal["accuracy", "mean_recall"]:
        """The score that a person is to see first."""
        ...

    def prepare(self, settings: Settings) -> TaskData:
        """Read, check and split `settings.train_dir`. Raises UserError for anything wrong with the folder."""
        ...

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """Every example under `root`, and remarks where files or contents differ from what `split` was drawn from."""
        ...

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """Every example under `root`, a folder that no split was drawn from, and remarks on those that `split` knows
        all the same.

        Each has been read once. Raises UserError on those that can't be, unless `bad_images` is "skip"; None where
        there is no such flag.
        """
        ...

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> Built:
        """The classifier. Raises UserError where weights or names don't fit."""
        ...

    def transforms(self, description: InputDescription, settings: Settings) -> tuple[Transform, Transform]:
        """From an example's raw input to the model's: for training, for evaluation."""
        ...

    def views(self, built: Built, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """What the training loads; a task may compute here, once, what stays the same in every epoch. Raises UserError."""
        ...

    def checks(self, built: Built, settings: Settings, balance: Balance) -> Sequence[str]:
        """What the settings amount to, a line each, for whoever is about to start this run."""
        ...

    def baselines(
        self, built: Built, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """What simpler models, fitted on the same training examples, reach on the validation examples: the measure of
        this one.
        """
        ...

    def figures(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """Further figures of the best weights, whose answers to the validation examples are `predictions`."""
        ...

    def picture(self, example: Example) -> Image.Image | None:
        """What to show a person of an example."""
        ...

    def picture_named(self, root: Path, name: str) -> Image.Image | None:
        """The same of an example of which only the folder and its id are known; None where the id is none of the
        task's.

        Raises:
            BadImage: the picture can't be read.
        """
        ...
