"""Flowers: one picture, one of five names. Any other folder of classes goes the same way."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from flowerml.data.balance import Balance
from flowerml.data.decode import BadImage, read_image
from flowerml.data.folders import FolderLayout, read_layout
from flowerml.data.loader import Example, Transform
from flowerml.data.quality.label_conflicts import conflicting_labels, resolve_label_conflicts
from flowerml.data.quality.near_duplicates import group_numbers
from flowerml.data.scan import Scan, require_readable, scan_folder
from flowerml.data.scan_cache import ScanCache
from flowerml.data.split import Split, draw_split
from flowerml.data.transforms import EvaluationTransform, InputDescription, TrainingTransform
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.pair_baselines import BaselineResult
from flowerml.files import file_digest
from flowerml.models import Built, build
from flowerml.settings import ModelSpec, Settings
from flowerml.tasks.base import Predict, TaskData, Views

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
ALIASES = {"roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"}  # the public flower_photos' folder names


class FlowersTask:
    """Whole pictures to class names."""

    name = "flowers"
    headline: Literal["accuracy", "mean_recall"] = "accuracy"

    def layout(self, root: Path, classes: Sequence[str] | None) -> FolderLayout:
        """The folder's pictures by class. Raises UserError as `read_layout`."""
        return read_layout(root, CLASSES if classes is None else classes, ALIASES)

    def scan(self, root: Path, classes: Sequence[str] | None, memory: ScanCache | None = None) -> Scan:
        """`layout`, every picture read once; with a `memory`, those that are not known from it. Raises UserError as
        `layout`.
        """
        return scan_folder(root, self.layout(root, classes), memory)

    def prepare(self, settings: Settings) -> TaskData:
        """Scan, check, group and split the training folder. Raises UserError."""
        root = Path(settings.train_dir)
        scanned = self.scan(root, settings.classes, ScanCache(root))
        require_readable(scanned, settings.bad_images)
        every = scanned.pictures
        groups, source = group_numbers(every, root)
        scanned, groups = resolve_label_conflicts(scanned, groups, settings.duplicates)
        dropped = len(every) - len(scanned.pictures)
        split = draw_split(scanned, groups, settings.val_split, settings.split_seed)
        skipped = {found.key for found in self.layout(root, settings.classes).files} - {
            picture.key for picture in scanned.pictures
        }
        split = replace(split, skipped=tuple(sorted(key for key in skipped if _is_text(key))))
        val = set(split.val)
        numbers = {name: number for number, name in enumerate(scanned.classes)}
        all_examples = [
            _example(root, picture.key, picture.file, numbers[picture.label]) for picture in scanned.pictures
        ]
        return TaskData(
            classes=scanned.classes,
            split=split,
            train=tuple(example for example in all_examples if example.id not in val),
            val=tuple(example for example in all_examples if example.id in val),
            bad=scanned.bad,
            remarks=_remarks(scanned, groups, source, dropped),
        )

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """Every picture under `root`, and how the folder differs from the one that was split. Raises UserError."""
        layout = self.layout(root, classes)
        examples = [_example(root, found.key, found.file, layout.classes.index(found.label)) for found in layout.files]
        if split is None:
            return examples, []
        digests = split.sha256
        keys = {found.key for found in layout.files}
        other = [
            found
            for found in layout.files
            if found.key in digests and file_digest(root / found.file) != digests[found.key]
        ]
        require_readable(
            scan_folder(root, FolderLayout((), tuple(other), ())), None
        )  # what has not changed could be read at training
        changed = [found.key for found in other]
        kinds = (
            ("not there any more", sorted(digests.keys() - keys)),
            ("changed", changed),
            ("new, and left out", sorted(keys - digests.keys() - set(split.skipped))),
        )
        return examples, [
            f"{len(names)} pictures are {what}, for example {names[0]!r}" for what, names in kinds if names
        ]

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """Every readable picture under `root`, and a remark where some are the training folder's. Raises UserError."""
        scanned = self.scan(root, classes)
        require_readable(scanned, bad_images)
        examples = [
            _example(root, found.key, found.file, scanned.classes.index(found.label)) for found in scanned.pictures
        ]
        known = set(split.sha256.values()) if split is not None else set()
        seen = [picture.key for picture in scanned.pictures if picture.sha256 in known]
        remarks = (
            [f"{len(scanned.bad)} pictures can't be read and are left out, for example {scanned.bad[0].file!r}"]
            if scanned.bad
            else []
        )
        if seen:
            remarks.append(
                f"{len(seen)} of {len(examples)} pictures are in the training folder too, for example {seen[0]!r}: no"
                " test of it"
            )
        return examples, remarks

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> Built:
        """timm's or open_clip's backbone with a fresh head. Raises UserError."""
        return build(
            spec,
            len(classes),
            img_size=settings.img_size,
            dropout=settings.dropout,
            drop_path=settings.drop_path,
            weights=settings.weights,
            overrides={name: getattr(settings, name) for name in ("mean", "std", "interpolation", "crop_pct")},
        )

    def transforms(self, description: InputDescription, settings: Settings) -> tuple[Transform, Transform]:
        """Augmented for training, the fixed centre view for evaluation."""
        return TrainingTransform(description, settings.randaugment, settings.random_erasing), EvaluationTransform(
            description
        )

    def views(self, built: Built, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """The pictures, looked at anew in every epoch."""
        to_train, to_evaluate = self.transforms(built.description, settings)
        return Views(data.train, data.val, to_train, to_evaluate, workers)

    def checks(self, built: Built, settings: Settings, balance: Balance) -> Sequence[str]:
        """None: nobody has claimed anything about these settings."""
        return ()

    def baselines(
        self, built: Built, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """None: classes are about equally frequent, so chance says it all."""
        return ()

    def figures(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """None but the scores."""
        return {}

    def picture(self, example: Example) -> Image.Image | None:
        """The picture itself; None where it can't be read any more."""
        try:
            image: Image.Image = example.read()
        except BadImage:
            return None
        return image

    def picture_named(self, root: Path, name: str) -> Image.Image | None:
        """The picture of that name."""
        return read_image(root / name)


def _is_text(name: str) -> bool:
    """Whether a file's name is valid UTF-8: no JSON file can hold another."""
    return name.encode("utf-8", "ignore").decode("utf-8") == name


def _example(root: Path, key: str, file: str, label: int) -> Example:
    return Example(key, label, partial(read_image, root / file))


def _remarks(scanned: Scan, groups: Sequence[int], source: str, dropped: int) -> tuple[str, ...]:
    counts = ", ".join(f"{name} {count}" for name, count in scanned.counts().items())
    doubles = len(groups) - len(set(groups))
    lines = [
        f"{len(scanned.pictures)} pictures: {counts}",
        f"{doubles} are near-duplicates of another ({source}); each group stays together",
    ]
    if scanned.left_out:
        lines.append(f"warning: folders that are none of the classes are left out: {', '.join(scanned.left_out)}")
    if dropped:
        lines.append(
            f"warning: {dropped} copies of photos that stand under two labels are left out (--duplicates drop)"
        )
    if doubtful := conflicting_labels(scanned.pictures, groups):
        lines.append(
            f"warning: {len(doubtful)} photo(s) stand under two labels and are trained on under both (--duplicates"
            " keep)"
        )
    if scanned.bad:
        lines.append(f"warning: {len(scanned.bad)} pictures can't be read and are left out (listed in bad_images.txt)")
    return tuple(lines)
