"""Image classification from a folder per class or a list of pictures; the defaults are the five flowers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from flowerml.data.augment.opencv import OPENCV, OpenCVTransform, require_backend
from flowerml.data.balance import Balance
from flowerml.data.decode import BadImage
from flowerml.data.folders import FolderLayout, passed_over_line
from flowerml.data.folders.walk import has_lost_pictures
from flowerml.data.image_cache.choice import OFF, open_store
from flowerml.data.image_cache.entry import evaluation_entry, training_entry
from flowerml.data.image_cache.examples import as_array, cached_examples, to_image
from flowerml.data.loader import Example, Transform
from flowerml.data.location import Part, PictureLocation, location_digest, read_image_at
from flowerml.data.quality.label_conflicts import conflicting_labels, resolve_label_conflicts
from flowerml.data.quality.near_duplicates import group_numbers
from flowerml.data.scan import Scan, require_readable, scan_folder
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.forms import Form, form_of
from flowerml.data.sources.local import local_path
from flowerml.data.sources.reading import find_picture, read_source
from flowerml.data.splits.split import Split, draw_fold, draw_split
from flowerml.data.transforms import EvaluationTransform, InputDescription, TrainingTransform
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.pairs.pair_baselines import BaselineResult
from flowerml.models import BuiltModel, build
from flowerml.settings import ModelSpec, Settings, find_model
from flowerml.tasks.base import Predict, TaskData, Views
from flowerml.tasks.frozen_features import compute_frozen_features
from flowerml.tasks.image_features import ImageFeatures

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
ALIASES = {"roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"}  # the public flower_photos' folder names

_MANY_CLASSES = 40  # more are not printed one by one


class FlowersTask:
    """Classifies whole images."""

    name = "flowers"
    headline: Literal["accuracy", "mean_recall"] = "accuracy"
    noun: str = "picture"
    no_label_errors: str = ""
    no_views: str = ""
    no_heat_maps: str = ""

    def layout(self, root: Path, classes: Sequence[str] | None, *, may_lack: bool = False) -> FolderLayout:
        """The image files by class, from a folder or a list. Raises UserError as `read_source`."""
        return read_source(root, CLASSES if classes is None else classes, ALIASES, may_lack=may_lack)

    def scan(self, root: Path, classes: Sequence[str] | None, cache: ScanCache | None = None) -> Scan:
        """Read and check every image, except those unchanged since a scan in `cache`. Raises UserError as `layout`."""
        root = local_path(root)
        return scan_folder(root, self.layout(root, classes), cache)

    def prepare(self, settings: Settings) -> TaskData:
        """Scan the training folder, check it, group near-duplicates and draw the split. Raises UserError."""
        require_backend(settings.augment_backend)
        root = local_path(Path(settings.train_dir))
        scanned = self.scan(root, settings.classes, ScanCache(root))
        require_readable(scanned, settings.bad_images)
        all_pictures = scanned.pictures
        groups, source = group_numbers(all_pictures, root)
        scanned, groups = resolve_label_conflicts(scanned, groups, settings.duplicates)
        dropped = len(all_pictures) - len(scanned.pictures)
        if settings.folds:
            assert settings.fold is not None
            split = draw_fold(scanned, groups, settings.folds, settings.fold, settings.split_seed)
        else:
            split = draw_split(scanned, groups, settings.val_split, settings.split_seed)
        files = self.layout(root, settings.classes).files
        skipped = {found.key for found in files} - {picture.key for picture in scanned.pictures}
        split = replace(split, skipped=tuple(sorted(key for key in skipped if _is_utf8(key))))
        val = set(split.val)
        label_of = {name: label for label, name in enumerate(scanned.classes)}
        all_examples = [
            _make_example(picture.locate(root), picture.key, label_of[picture.label], picture.sha256)
            for picture in scanned.pictures
        ]
        return TaskData(
            classes=scanned.classes,
            split=split,
            train=tuple(example for example in all_examples if example.id not in val),
            val=tuple(example for example in all_examples if example.id in val),
            bad=scanned.bad,
            remarks=_scan_remarks(scanned, groups, source, dropped),
            pictures={picture.key: picture for picture in scanned.pictures},
        )

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """All images under `root`, and remarks on how the folder differs from `split`. Raises UserError."""
        root = local_path(root)
        layout = self.layout(root, classes)
        examples = [
            _make_example(found.locate(root), found.key, layout.classes.index(found.label)) for found in layout.files
        ]
        if split is None:
            return examples, []
        digests = split.sha256
        keys = {found.key for found in layout.files}
        known = [found for found in layout.files if found.key in digests]
        changed = [found for found in known if location_digest(found.locate(root)) != digests[found.key]]
        require_readable(
            scan_folder(root, FolderLayout((), tuple(changed), ())), None
        )  # unchanged images were checked at training
        kinds = (
            ("not there any more", sorted(digests.keys() - keys)),
            ("changed", [found.key for found in changed]),
            ("new, and left out", sorted(keys - digests.keys() - set(split.skipped))),
        )
        return examples, [
            f"{len(names)} pictures are {what}, for example {names[0]!r}" for what, names in kinds if names
        ]

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """All readable images under `root`, and remarks on classes it lacks and on images in the training folder too.

        Raises:
            UserError: as `layout`, or images can't be read.
        """
        root = local_path(root)
        layout = self.layout(root, classes, may_lack=True)
        scanned = scan_folder(root, layout)
        present = {found.label for found in layout.files}
        lacking = [name for name in layout.classes if name not in present]
        require_readable(
            replace(scanned, classes=tuple(name for name in layout.classes if name in present)), bad_images
        )
        examples = [
            _make_example(picture.locate(root), picture.key, scanned.classes.index(picture.label), picture.sha256)
            for picture in scanned.pictures
        ]
        known = set(split.sha256.values()) if split is not None else set()
        seen = [picture.key for picture in scanned.pictures if picture.sha256 in known]
        remarks = (
            [f"{len(scanned.bad)} pictures can't be read and are left out, for example {scanned.bad[0].file!r}"]
            if scanned.bad
            else []
        )
        if lacking:
            remarks.append(
                f"no pictures of {', '.join(lacking)} here: accuracy, mean recall and macro F1 are of the other classes"
            )
        remarks += scanned.remarks
        if (line := passed_over_line(scanned.passed_over)) and has_lost_pictures(scanned.passed_over):
            remarks.append(line)
        if seen:
            remarks.append(
                f"{len(seen)} of {len(examples)} pictures are in the training folder too, for example {seen[0]!r}: no"
                " test of it"
            )
        return examples, remarks

    def near_duplicates(
        self, root: Path, classes: Sequence[str], split: Split, examples: Sequence[Example]
    ) -> Sequence[int]:
        """The groups of the manifest or by perceptual hash, as for the split; an unreadable image is its own."""
        root = local_path(root)
        wanted = {example.id for example in examples}
        layout = self.layout(root, classes)
        files = tuple(found for found in layout.files if found.key in wanted)
        scanned = scan_folder(root, replace(layout, files=files), ScanCache(root))
        groups, _ = group_numbers(scanned.pictures, root)
        group_of = dict(zip((picture.key for picture in scanned.pictures), groups, strict=True))
        return [group_of.get(example.id, len(groups) + place) for place, example in enumerate(examples)]

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> BuiltModel:
        """A timm or open_clip backbone with a new linear head. Raises UserError."""
        return build(
            spec,
            len(classes),
            img_size=settings.img_size,
            dropout=settings.dropout,
            drop_path=settings.drop_path,
            weights=settings.weights,
            overrides={name: getattr(settings, name) for name in ("mean", "std", "interpolation", "crop_pct")},
            frozen=settings.probe,
        )

    def transforms(self, description: InputDescription, settings: Settings) -> tuple[Transform, Transform]:
        """Augmentation for training, a center crop for evaluation."""
        recipe = OpenCVTransform if settings.augment_backend == OPENCV else TrainingTransform
        augment = recipe(
            description,
            settings.randaugment,
            settings.random_erasing,
            crop_scale=settings.crop_scale,
            color_jitter=settings.color_jitter,
            trivialaugment=settings.trivialaugment,
        )
        return augment, EvaluationTransform(description)

    def views(self, built: BuiltModel, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """The images, decoded in every epoch or, with `cache_images`, once.

        With `probe` also their features, with `freeze_views` those of the epochs with a frozen backbone.
        """
        views = self._image_views(built, settings, data, device, workers)
        if not settings.freeze_views:
            return views
        train, val = (views.train, views.train_transform), (data.val, EvaluationTransform(built.description))
        compute = partial(compute_frozen_features, built, settings, train, val, device, workers)
        return replace(views, frozen_features=compute)

    def _image_views(
        self, built: BuiltModel, settings: Settings, data: TaskData, device: torch.device, workers: int
    ) -> Views:
        train_transform, eval_transform = self.transforms(built.description, settings)
        if settings.probe:
            features = ImageFeatures(built, find_model(settings.model), eval_transform, device, workers)
            features([*data.train, *data.val])
            return Views(data.train, data.val, train_transform, eval_transform, workers, features)
        if settings.cache_images == OFF:
            return Views(data.train, data.val, train_transform, eval_transform, workers)
        root, description = local_path(Path(settings.train_dir)), built.description
        for_training = [
            training_entry(root, data.pictures[example.id], description, settings.crop_scale) for example in data.train
        ]
        for_evaluation = [evaluation_entry(root, data.pictures[example.id], description) for example in data.val]
        store = open_store(settings.cache_images, [*for_training, *for_evaluation], settings.cache_images_gb)
        convert = as_array if settings.augment_backend == OPENCV else to_image
        return Views(
            cached_examples(data.train, for_training, store, convert),
            cached_examples(data.val, for_evaluation, store, to_image, first=len(for_training)),
            train_transform,
            EvaluationTransform(description).normalise,
            workers,
        )

    def describe_settings(self, built: BuiltModel, settings: Settings, balance: Balance) -> Sequence[str]:
        """None."""
        return ()

    def fit_baselines(
        self, built: BuiltModel, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """None: classes are about equally frequent, so chance level is the baseline."""
        return ()

    def extra_metrics(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """None."""
        return {}

    def render(self, example: Example) -> Image.Image | None:
        """The image itself; None where it can't be read any more."""
        try:
            image: Image.Image = example.read()
        except BadImage:
            return None
        return image

    def render_by_id(self, root: Path, name: str) -> Image.Image | None:
        """The image of that id. Raises BadImage."""
        return read_image_at(find_picture(root, name, ALIASES))


def _is_utf8(name: str) -> bool:
    """Whether a file name is valid UTF-8; others can't be written to JSON."""
    return name.encode("utf-8", "ignore").decode("utf-8") == name


def _make_example(location: PictureLocation, key: str, label: int, sha256: str | None = None) -> Example:
    needs = None if isinstance(location, Path) else partial(_part, location)
    return Example(key, label, partial(read_image_at, location), sha256=sha256, needs=needs)


def _part(part: Part) -> Part:
    return part


def _scan_remarks(scanned: Scan, groups: Sequence[int], source: str, dropped: int) -> tuple[str, ...]:
    by_class = scanned.counts()
    counts = ", ".join(f"{name} {count}" for name, count in by_class.items())
    if len(by_class) > _MANY_CLASSES:
        counts = f"{len(by_class)} classes of {min(by_class.values())} to {max(by_class.values())}"
    doubles = len(groups) - len(set(groups))
    lines = [
        f"{len(scanned.pictures)} pictures: {counts}",
        f"{doubles} are near-duplicates of another ({source}); each group stays together",
    ]
    lines += scanned.remarks
    if scanned.left_out:
        what = "folders" if form_of(scanned.root) is Form.FOLDERS else "labels"
        lines.append(f"warning: {what} that are none of the classes are left out: {', '.join(scanned.left_out)}")
    if line := passed_over_line(scanned.passed_over):
        lines.append(f"warning: {line}" if has_lost_pictures(scanned.passed_over) else line)
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
