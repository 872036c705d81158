"""Spatial relations: two boxed objects of one picture, one of ten names for how the first lies to the second."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw

from flowerml.data.balance import Balance
from flowerml.data.decode import BadImage, read_image
from flowerml.data.loader import Example, Transform
from flowerml.data.pair_views import ImagePairSource, PairExample, PairSource, PairView
from flowerml.data.relations.checks import experiment_checks, settings_checks
from flowerml.data.relations.folder import PairFolder, parse_pair_id, read_pair_folder, require_pairs
from flowerml.data.relations.geometry import BoxFeatures, feature_names
from flowerml.data.relations.records import FLIPPED, Box, Pair
from flowerml.data.relations.split import PairSplit, measure_ambiguity, require_disjoint, split_by_image
from flowerml.data.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.evaluation.metrics import Predictions, compute_metrics
from flowerml.evaluation.pair_baselines import BaselineResult, run_baselines
from flowerml.evaluation.swap_consistency import swap_consistency
from flowerml.evaluation.visual_baseline import visual_baseline
from flowerml.models import Built
from flowerml.models.pairs.classifier import build_pairs
from flowerml.settings import ModelSpec, Settings, find_model
from flowerml.tasks.base import Predict, TaskData, Views
from flowerml.tasks.feature_cache import cached_views, pair_features

FEATURES = "features"  # folder in the runs' root for what frozen backbones saw
GAP_OVER = 2000  # training pairs, about, on which the gap to validation is measured
SUBJECT_COLOUR, OBJECT_COLOUR = (213, 94, 0), (0, 114, 178)  # vermillion and blue of the figures' palette


class RelationsTask:
    """Two boxes in a picture to the relation between them."""

    name = "relations"
    headline: Literal["accuracy", "mean_recall"] = "mean_recall"

    def prepare(self, settings: Settings) -> TaskData:
        """Read annotations and pictures, split by picture. Raises UserError."""
        folder = _folder(Path(settings.train_dir), settings.annotations, settings, settings.classes)
        require_pairs(folder, settings.bad_images)
        sides = _split(folder.pairs, settings)
        held_out = {pair.image for pair in sides.val}
        examples = _examples(folder)
        train = [example for example in examples if example.pair.image not in held_out]
        val = [example for example in examples if example.pair.image in held_out]
        split = Split(
            classes=folder.classes,
            train=tuple(example.id for example in train),
            val=tuple(example.id for example in val),
            sha256={name: folder.sha256[pair.image] for name, pair in zip(folder.ids, folder.pairs, strict=True)},
            data_digest=folder.digest,
            val_split=settings.val_split,
            split_seed=settings.split_seed,
        )
        return TaskData(folder.classes, split, train, val, folder.bad, _remarks(folder, sides))

    def examples(
        self, root: Path, classes: Sequence[str], split: Split | None, settings: Settings
    ) -> tuple[list[Example], list[str]]:
        """Every pair of the pictures under `root`, and how they differ from those that were split. Raises UserError."""
        folder = _folder(root, settings.annotations, settings, classes)
        require_pairs(folder, settings.bad_images)
        examples = _examples(folder)
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
        """Every usable pair under `root`, and a remark where pictures are the training folder's. Raises UserError."""
        named = settings.test_annotations if settings.test_dir == str(root) else None
        folder = _folder(root, named, settings, classes)
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
        return [*_examples(folder)], remarks

    def build(self, spec: ModelSpec, settings: Settings, classes: Sequence[str]) -> Built:
        """timm's backbone with a fresh head for pairs. Raises UserError."""
        return build_pairs(
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
        """Crops and box numbers; mirrored now and then for training."""
        kind = BoxFeatures(settings.box_features)
        return PairView(description, kind, settings.flip), PairView(description, kind)

    def views(self, built: Built, settings: Settings, data: TaskData, device: torch.device, workers: int) -> Views:
        """The pictures' crops; where nothing but the head is trained, the backbone's features of them, computed once."""
        to_train, to_evaluate = self.transforms(built.description, settings)
        last = settings.stop_epoch or settings.epochs
        if not settings.cache_features or settings.freeze_backbone_epochs < last:
            return Views(data.train, data.val, to_train, to_evaluate, workers)
        examples = _pairs([*data.train, *data.val])
        kept = cached_views(
            examples,
            [settings.flip > 0 and place < len(data.train) for place in range(len(examples))],
            root=Path(settings.train_dir),
            sha256={example.pair.image: data.split.sha256[example.id] for example in examples},
            built=built,
            spec=find_model(settings.model),
            device=device,
            workers=workers,
            folder=Path(settings.runs_root) / FEATURES,
        )
        # A row of numbers is read faster than it is handed from one process to another.
        return Views(kept[: len(data.train)], kept[len(data.train) :], to_train, to_evaluate, workers=0)

    def checks(self, built: Built, settings: Settings, balance: Balance) -> Sequence[str]:
        """What weights, oversampling, patience and parameters of this run come to, and where the experiment's page
        contradicts itself.
        """
        counts = {
            name: sum(part.numel() for part in module.parameters())
            for name, module in built.model.head.named_children()
        }
        counts["embeddings"] = built.head_parameters - sum(counts.values())
        if settings.freeze_backbone_epochs < (settings.stop_epoch or settings.epochs):
            counts["backbone"] = built.parameters - built.head_parameters
        published = [f"the experiment's page: {line}" for line in experiment_checks()]
        return [*settings_checks(balance, settings, counts), *published]

    def baselines(
        self, built: Built, settings: Settings, data: TaskData, views: Views, device: torch.device, workers: int
    ) -> Sequence[BaselineResult]:
        """Majority, class prior, boxes alone, boxes and names of the objects, crops alone."""
        train, val = _pairs(views.train), _pairs(views.val)
        if not val:
            return ()
        kind = BoxFeatures(settings.box_features)
        results = run_baselines(
            [one.pair for one in train], [one.pair for one in val], data.classes, kind, settings.seed
        )
        seen = pair_features(
            [*train, *val],
            root=Path(settings.train_dir),
            built=built,
            spec=find_model(settings.model),
            device=device,
            workers=workers,
        )
        labels = np.array([one.label for one in (*train, *val)])
        cut = len(train)
        return [*results, visual_baseline(seen[:cut], labels[:cut], seen[cut:], labels[cut:], len(data.classes))]

    def figures(self, predictions: Predictions, views: Views, predict: Predict) -> dict[str, float]:
        """How far training and validation lie apart, and how often the answer turns round when subject and object
        change places.
        """
        seen = views.train[:: max(1, len(views.train) // GAP_OVER)]
        trained, held_out = compute_metrics(predict(seen)), compute_metrics(predictions)
        figures = {"train_accuracy": trained.accuracy, "train_mean_recall": trained.mean_recall}
        for name in ("accuracy", "mean_recall", "loss"):
            figures[f"gap_{name}"] = getattr(trained, name) - getattr(held_out, name)
        return figures | swap_consistency(predictions, predict([_exchanged(example) for example in views.val]))

    def picture(self, example: Example) -> Image.Image | None:
        """The picture with both boxes: the subject's in vermillion, the object's in blue; None where it can't be read
        any more.
        """
        try:
            sight: ImagePairSource = example.read()
        except BadImage:
            return None
        return _boxed(sight.picture, sight.pair.subject, sight.pair.object)

    def picture_named(self, root: Path, name: str) -> Image.Image | None:
        """As `picture`, from what the pair's name says."""
        found = parse_pair_id(name)
        return None if found is None else _boxed(read_image(root / found[0], upright=False), *found[1:])


def _boxed(picture: Image.Image, subject: Box, other: Box) -> Image.Image:
    shown = picture.copy()
    draw, width = ImageDraw.Draw(shown), max(2, round(max(shown.size) / 150))
    for box, colour in ((other, OBJECT_COLOUR), (subject, SUBJECT_COLOUR)):
        draw.rectangle((box.x0, box.y0, max(box.x0, box.x1 - 1), max(box.y0, box.y1 - 1)), outline=colour, width=width)
    return shown


def _folder(root: Path, annotations: str | None, settings: Settings, classes: Sequence[str] | None) -> PairFolder:
    return read_pair_folder(root, None if annotations is None else Path(annotations), settings.wording, classes)


def _split(pairs: Sequence[Pair], settings: Settings) -> PairSplit:
    if settings.val_split == 0:
        return require_disjoint(pairs, ())
    return split_by_image(pairs, settings.val_split, settings.split_seed)


def _examples(folder: PairFolder) -> list[PairExample]:
    place = {name: number for number, name in enumerate(folder.classes)}
    made = []
    for name, pair in zip(folder.ids, folder.pairs, strict=True):
        label, mirrored = place[pair.relation], place.get(FLIPPED[pair.relation])
        made.append(
            PairExample(name, label, partial(_sight, folder.root / pair.image, pair, label, mirrored), pair, mirrored)
        )
    return made


def _sight(path: Path, pair: Pair, label: int, mirrored: int | None) -> ImagePairSource:
    return ImagePairSource(pair, label, mirrored, read_image(path, upright=False))


def _pairs(examples: Sequence[Example]) -> list[PairExample]:
    """The examples as what they are here."""
    return [example for example in examples if isinstance(example, PairExample)]


def _exchanged(example: Example) -> Example:
    return replace(example, read=partial(_read_exchanged, example))


def _read_exchanged(example: Example) -> PairSource:
    sight: PairSource = example.read()
    return sight.swapped()


def _remarks(folder: PairFolder, sides: PairSplit) -> tuple[str, ...]:
    counts = ", ".join(f"{name} {count:,}" for name, count in folder.counts().items())
    lines = [f"{folder.annotations.source}: {len(folder.pairs):,} pairs in {len(folder.sha256):,} pictures: {counts}"]
    lines += folder.annotations.notes
    if folder.annotations.other_relations:
        often = sorted(folder.annotations.other_relations.items(), key=lambda one: (-one[1], one[0]))[:5]
        total = sum(folder.annotations.other_relations.values())
        lines.append(
            f"other relations, left out: {total:,} ({', '.join(f'{text!r} {count:,}' for text, count in often)} …)"
        )
    lines += [*sides.summary_lines(), measure_ambiguity(folder.pairs).summary()]
    if folder.bad:
        lines.append(
            f"warning: {len(folder.bad)} pictures or pairs can't be used and are left out (listed in bad_images.txt)"
        )
    return tuple(lines)
