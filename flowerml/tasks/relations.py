"""Spatial relations: two boxed objects of one image, classified into ten relations of the first to the second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw

from flowerml.data.balance import Balance
from flowerml.data.decode import BadImage, read_image
from flowerml.data.folders.finder import PictureFinder
from flowerml.data.loader import Example, Transform
from flowerml.data.pair_views import ImagePairSource, PairView
from flowerml.data.relations.checks import experiment_checks, settings_checks
from flowerml.data.relations.folder import parse_pair_id, require_pairs
from flowerml.data.relations.geometry import BoxFeatures, feature_names
from flowerml.data.relations.records import Box
from flowerml.data.splits.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.evaluation.metrics import Predictions, compute_metrics
from flowerml.evaluation.pairs.pair_baselines import BaselineResult, run_baselines
from flowerml.evaluation.pairs.swap_consistency import swap_consistency
from flowerml.evaluation.pairs.visual_baseline import visual_baseline
from flowerml.models import BuiltModel
from flowerml.models.pairs.classifier import build_pair_classifier
from flowerml.settings import ModelSpec, Settings, find_model
from flowerml.tasks.base import Predict, TaskData, Views
from flowerml.tasks.feature_cache import cached_views, pair_features
from flowerml.tasks.pair_examples import (
    annotation_remarks,
    make_pair_examples,
    only_pairs,
    pair_folds,
    read_annotated_folder,
    split_pairs,
    swap_subject_object,
)

FEATURES = "features"  # folder in the runs' root with cached backbone features
GAP_PAIRS = 2000  # training pairs, about, on which the train-val gap is measured
SUBJECT_COLOUR, OBJECT_COLOUR = (213, 94, 0), (0, 114, 178)  # vermilion and blue of the figures' palette


class RelationsTask:
    """Classifies the spatial relation between two boxes of an image."""

    name = "relations"
    headline: Literal["accuracy", "mean_recall"] = "mean_recall"
    noun: str = "pair"
    no_label_errors: str = "several relations may hold for a pair"
    no_views: str = "relations: the mirror image of a picture swaps left and right"
    no_heat_maps: str = "a relation is decided on two crops of a picture and on their boxes, not on a picture"

    def prepare(self, settings: Settings) -> TaskData:
        """Read annotations and images, and split by image, into folds too. Raises UserError."""
        folder = read_annotated_folder(Path(settings.train_dir), settings.annotations, settings, settings.classes)
        require_pairs(folder, settings.bad_images)
        folds = pair_folds(folder, settings)
        parts = split_pairs(folder.pairs, settings, folds)
        held_out = {pair.image for pair in parts.val}
        examples = make_pair_examples(folder)
        train = [example for example in examples if example.pair.image not in held_out]
        val = [example for example in examples if example.pair.image in held_out]
        split = Split(
            classes=folder.classes,
            train=tuple(example.id for example in train),
            val=tuple(example.id for example in val),
            sha256={name: folder.sha256[pair.image] for name, pair in zip(folder.ids, folder.pairs, strict=True)},
            data_digest=folder.digest,
            val_split=1 / settings.folds if settings.folds else settings.val_split,
            split_seed=settings.split_seed,
            fold=settings.fold,
            fold_of=None
            if folds is None
            else {name: folds[pair.image] for name, pair in zip(folder.ids, folder.pairs, strict=True)},
        )
        return TaskData(folder.classes, split, train, val, folder.bad, annotation_remarks(folder, parts))

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """All pairs under `root`, and remarks on how they differ from `split`. Raises UserError."""
        folder = read_annotated_folder(root, settings.annotations, settings, classes)
        require_pairs(folder, settings.bad_images)
        examples = make_pair_examples(folder)
        if split is None:
            return [*examples], []
        changed = [
            name
            for name, pair in zip(folder.ids, folder.pairs, strict=True)
            if name in split.sha256 and folder.sha256[pair.image] != split.sha256[name]
        ]
        kinds = (
            ("not there any more", sorted(split.sha256.keys() - {*folder.ids})),
            ("changed", changed),
            ("new, and left out", sorted({*folder.ids} - split.sha256.keys())),
        )
        return [*examples], [
            f"{len(names)} pairs are {what}, for example {names[0]!r}" for what, names in kinds if names
        ]

    def test_examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings, bad_images: str | None
    ) -> tuple[list[Example], list[str]]:
        """All usable pairs under `root`, and a remark if images are in the training folder too. Raises UserError."""
        annotations = settings.test_annotations if settings.test_dir == str(root) else None
        folder = read_annotated_folder(root, annotations, settings, classes)
        require_pairs(folder, bad_images)
        known = set(split.sha256.values()) if split is not None else set()
        seen = [image for image, digest in folder.sha256.items() if digest in known]
        remarks = (
            [f"{len(folder.bad)} pictures or pairs are left out, for example {folder.bad[0].file!r}"]
            if folder.bad
            else []
        )
        if seen:
            remarks.append(
                f"{len(seen)} of {len(folder.sha256)} pictures are in the training folder too, for example {seen[0]!r}:"
                " no test of it"
            )
        return [*make_pair_examples(folder)], remarks

    def near_duplicates(
        self, root: Path, classes: Sequence[str], split: Split, examples: Sequence[Example]
    ) -> Sequence[int]:
        """Pairs of one image (by its content, as the split has it) are a group."""
        contents = [split.sha256[example.id] for example in examples]
        numbers = {content: number for number, content in enumerate(dict.fromkeys(contents))}
        return [numbers[content] for content in contents]

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> BuiltModel:
        """A timm backbone with a new pair head. Raises UserError."""
        return build_pair_classifier(
            spec,
            len(classes),
            len(feature_names(BoxFeatures(settings.box_features))),
            img_size=settings.img_size,
            embedding=settings.embedding,
            temperature=settings.temperature,
            dropout=settings.dropout,
            spatial_dropout=settings.spatial_dropout,
            drop_path=settings.drop_path,
            weights=settings.weights,
            overrides={name: getattr(settings, name) for name in ("mean", "std", "interpolation", "crop_pct")},
        )

    def transforms(self, description: InputDescription, settings: Settings) -> tuple[Transform, Transform]:
        """Crops and box features, with random mirroring for training."""
        kind = BoxFeatures(settings.box_features)
        return PairView(description, kind, settings.flip), PairView(description, kind)

    def views(self, built: BuiltModel, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """The crops, or their cached backbone features when only the head is trained."""
        train_transform, eval_transform = self.transforms(built.description, settings)
        last_epoch = settings.stop_epoch or settings.epochs
        if not settings.cache_features or settings.freeze_backbone_epochs < last_epoch:
            return Views(data.train, data.val, train_transform, eval_transform, workers)
        examples = only_pairs([*data.train, *data.val])
        # Mirrored crops of all pairs with cross-validation: then its runs read one file of features.
        flipped = len(examples) if settings.folds else len(data.train)
        cached = cached_views(
            examples,
            [settings.flip > 0 and index < flipped for index in range(len(examples))],
            root=Path(settings.train_dir),
            sha256={example.pair.image: data.split.sha256[example.id] for example in examples},
            built=built,
            spec=find_model(settings.model),
            device=device,
            workers=workers,
            folder=Path(settings.runs_root) / FEATURES,
        )
        # No worker processes: reading a feature row is faster than sending it between processes.
        return Views(cached[: len(data.train)], cached[len(data.train) :], train_transform, eval_transform, workers=0)

    def describe_settings(self, built: BuiltModel, settings: Settings, balance: Balance) -> Sequence[str]:
        """Class weights, oversampling, patience and parameter counts, and notes on the experiment's description."""
        counts = {
            name: sum(part.numel() for part in module.parameters())
            for name, module in built.model.head.named_children()
        }
        counts["embeddings"] = built.head_parameters - sum(counts.values())
        if settings.freeze_backbone_epochs < (settings.stop_epoch or settings.epochs):
            counts["backbone"] = built.parameters - built.head_parameters
        published = [f"the experiment's page: {line}" for line in experiment_checks()]
        return [*settings_checks(balance, settings, counts), *published]

    def fit_baselines(
        self, built: BuiltModel, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """Majority, class prior, boxes, boxes and object categories, crops."""
        train, val = only_pairs(views.train), only_pairs(views.val)
        if not val:
            return ()
        kind = BoxFeatures(settings.box_features)
        results = run_baselines(
            [example.pair for example in train], [example.pair for example in val], data.classes, kind, settings.seed
        )
        features = pair_features(
            [*train, *val],
            root=Path(settings.train_dir),
            built=built,
            spec=find_model(settings.model),
            device=device,
            workers=workers,
        )
        labels = np.array([example.label for example in (*train, *val)])
        n = len(train)
        return [*results, visual_baseline(features[:n], labels[:n], features[n:], labels[n:], len(data.classes))]

    def extra_metrics(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """The gap between training and validation metrics, and the swap consistency."""
        subset = views.train[:: max(1, len(views.train) // GAP_PAIRS)]
        trained, held_out = compute_metrics(predict(subset)), compute_metrics(predictions)
        metrics = {"train_accuracy": trained.accuracy, "train_mean_recall": trained.mean_recall}
        for name in ("accuracy", "mean_recall", "loss"):
            metrics[f"gap_{name}"] = getattr(trained, name) - getattr(held_out, name)
        return metrics | swap_consistency(predictions, predict([swap_subject_object(example) for example in views.val]))

    def render(self, example: Example) -> Image.Image | None:
        """The image with both boxes, subject in vermilion, object in blue; None where it can't be read any more."""
        try:
            source: ImagePairSource = example.read()
        except BadImage:
            return None
        return _draw_boxes(source.picture, source.pair.subject, source.pair.object)

    def render_by_id(self, root: Path, name: str) -> Image.Image | None:
        """As `render`, from the image and boxes in the pair's id. Raises BadImage."""
        parsed = parse_pair_id(name)
        if parsed is None:
            return None
        return _draw_boxes(read_image(PictureFinder(root).path(parsed[0]), upright=False), *parsed[1:])


def _draw_boxes(image: Image.Image, subject: Box, other: Box) -> Image.Image:
    drawn = image.copy()
    draw, width = ImageDraw.Draw(drawn), max(2, round(max(drawn.size) / 150))
    for box, colour in ((other, OBJECT_COLOUR), (subject, SUBJECT_COLOUR)):
        draw.rectangle((box.x0, box.y0, max(box.x0, box.x1 - 1), max(box.y0, box.y1 - 1)), outline=colour, width=width)
    return drawn
