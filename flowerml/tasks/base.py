"""What the engine asks of a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from flowerml.data.loading import Example
from flowerml.data.scan import BadFile
from flowerml.data.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.models import Built
from flowerml.settings import ModelSpec, Settings


@dataclass(frozen=True)
class TaskData:
    """A task's data, ready to train on: the split, the examples of both sides, files left out, and remarks for the console."""

    classes: tuple[str, ...]
    split: Split
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    bad: tuple[BadFile, ...]
    remarks: tuple[str, ...]


class Task(Protocol):
    """Class names, examples, transforms, model, pictures for people: everything the loop must be given."""

    @property
    def name(self) -> str:
        """The task's name, also its default MLflow experiment."""
        ...

    def prepare(self, settings: Settings) -> TaskData:
        """Read, check and split `settings.train_dir`. Raises UserError for anything wrong with the folder."""
        ...

    def examples(self, root: Path, classes: Sequence[str], split: Split | None) -> tuple[list[Example], list[str]]:
        """Every example under `root`, and remarks where files or contents differ from what `split` was drawn from."""
        ...

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """Every example under `root`, a folder that no split was drawn from, and remarks on those that `split` knows all the same.

        Each has been read once. Raises UserError on those that can't be, unless `bad_images` is "skip"; None where there is no such flag.
        """
        ...

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> Built:
        """The classifier. Raises UserError where weights or names don't fit."""
        ...

    def transforms(
        self, description: InputDescription, settings: Settings
    ) -> tuple[Callable[[Any], torch.Tensor], Callable[[Any], torch.Tensor]]:
        """From an example's raw input to the model's: for training, for evaluation."""
        ...

    def picture(self, example: Example) -> Image.Image | None:
        """What to show a person of an example."""
        ...
