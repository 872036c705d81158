"""Cache of a frozen backbone's features of all crops, so that an epoch costs no more than its head."""

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from flowerml.data.decode import read_image
from flowerml.data.folders.finder import PictureFinder
from flowerml.data.loader import Example
from flowerml.data.pair_views import PairExample, Sides, crop_box, swap_boxes
from flowerml.data.relations.records import Box, Pair
from flowerml.data.transforms import InputDescription
from flowerml.data.workers.errors import worker_death_as_error
from flowerml.files import write_with
from flowerml.human_units import duration
from flowerml.models import BuiltModel
from flowerml.settings import ModelSpec
from flowerml.tasks.backbone_features import extract_batches, update_with_backbone

logger = logging.getLogger(__name__)

_FORMAT = "features-1"  # part of the cache key: change it whenever crops change


@dataclass(frozen=True)
class CropKey:
    """A crop of an image, or with `flipped` of the mirrored image (`box` is then in mirrored coordinates)."""

    image: str
    box: Box
    flipped: bool


@dataclass(frozen=True)
class CachedPairSource:
    """A `PairSource` whose crops are rows of a feature file: (subject, object), and those of the mirrored image."""

    pair: Pair
    label: int
    flipped_label: int | None
    features: Path
    rows: tuple[int, int]
    mirrored_rows: tuple[int, int] | None

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Pooled features (F,) of subject and object."""
        rows = self.mirrored_rows if flipped else self.rows
        assert rows is not None, "mirrored features are cached for examples that are flipped in training"
        features = _open_features(self.features)
        return torch.from_numpy(np.array(features[rows[0]])), torch.from_numpy(np.array(features[rows[1]]))

    def swapped(self) -> "CachedPairSource":
        """As `PairSource.swapped`."""
        return replace(self, pair=swap_boxes(self.pair), rows=(self.rows[1], self.rows[0]), mirrored_rows=None)


def cached_views(
    examples: Sequence[PairExample],
    flips: Sequence[bool],
    *,
    root: Path,
    sha256: Mapping[str, str],
    built: BuiltModel,
    spec: ModelSpec,
    device: torch.device,
    workers: int,
    folder: Path,
) -> list[PairExample]:
    """The examples with cached backbone features instead of images, in the same order.

    `flips` says which need their mirrored crops too; `root` is the image folder, `sha256` the digest of each image.
    Features are read from `folder` if a file for the same crops, images and weights exists, else computed and saved.

    Raises:
        UserError: the folder can't be written to, or the disk is full.
    """
    with_flips = list(zip(examples, flips, strict=True))
    rows = _row_of_crops(crop for example, flip in with_flips for crop in _crops_of_pair(example.pair, flip=flip))
    path = folder / f"{_cache_key(rows, sha256, built)}.npy"
    if path.exists():
        logger.info(f"features of {len(rows):,} crops are there from an earlier run: {path}")
    else:
        started = time.monotonic()
        features = _compute_features(list(rows), root, built, spec, device, workers)
        _save_features(path, features)
        took, mib = duration(time.monotonic() - started), features.nbytes / 2**20
        shape = f"{len(features):,} crops ({features.shape[1]} numbers each)"
        logger.info(f"features of {shape} in {took}, kept in {path} ({mib:,.0f} MiB)")
    cached = []
    for example, flip in with_flips:
        first, second, *mirrored = (rows[crop] for crop in _crops_of_pair(example.pair, flip=flip))
        mirrored_rows = (mirrored[0], mirrored[1]) if mirrored else None
        source = CachedPairSource(
            example.pair, example.label, example.flipped_label, path, (first, second), mirrored_rows
        )
        cached.append(replace(example, read=partial(_return_source, source)))
    return cached


def _row_of_crops(crops: Iterable[CropKey]) -> dict[CropKey, int]:
    """Distinct crops to rows, sorted by image, so that each image is decoded once."""
    ordered = sorted(set(crops), key=lambda crop: (crop.image, crop.flipped, str(crop.box)))
    return {crop: row for row, crop in enumerate(ordered)}


def _crops_of_pair(pair: Pair, *, flip: bool) -> list[CropKey]:
    crops = [CropKey(pair.image, box, flipped=False) for box in (pair.subject, pair.object)]
    if flip:
        mirror = pair.flipped()
        crops += [CropKey(pair.image, box, flipped=True) for box in (mirror.subject, mirror.object)]
    return crops


def pair_features(
    examples: Sequence[PairExample],
    *,
    root: Path,
    built: BuiltModel,
    spec: ModelSpec,
    device: torch.device,
    workers: int,
) -> np.ndarray:
    """Backbone features of subject and object, (N, 2F) float32, from the cache if the examples are cached ones."""
    if examples and isinstance(examples[0].read(), CachedPairSource):
        sides = [example.read().sides(built.description, flipped=False) for example in examples]
        return np.stack([torch.cat(both).numpy() for both in sides])
    crops = [_crops_of_pair(example.pair, flip=False) for example in examples]
    rows = _row_of_crops(crop for both in crops for crop in both)
    features = _compute_features(list(rows), root, built, spec, device, workers)
    indices = np.array([[rows[crop] for crop in both] for both in crops])
    return features[indices].reshape(len(examples), -1)


@worker_death_as_error()
def _compute_features(
    crops: Sequence[CropKey], root: Path, built: BuiltModel, spec: ModelSpec, device: torch.device, workers: int
) -> np.ndarray:
    """Features (N, F) float32 of the crops, computed in fp32."""
    finder = PictureFinder(root)
    examples = [Example(crop.image, 0, partial(_read_crop, finder.path(crop.image), crop)) for crop in crops]
    batches = extract_batches(
        examples,
        partial(_crop_to_tensor, built.description),
        built=built,
        spec=spec,
        device=device,
        workers=workers,
    )
    return np.concatenate([features for _, features in batches])


def _save_features(path: Path, features: np.ndarray) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.save(handle, features, allow_pickle=False)

    write_with(path, fill, needed=features.nbytes)


def _cache_key(crops: Iterable[CropKey], sha256: Mapping[str, str], built: BuiltModel) -> str:
    """Digest of everything the features depend on: image contents, boxes, backbone weights, input description."""
    digest = hashlib.sha256(f"{_FORMAT} {built.description}".encode())
    for crop in crops:
        digest.update(f"{sha256[crop.image]} {crop.box} {crop.flipped}\n".encode())
    update_with_backbone(digest, built)
    return digest.hexdigest()[:24]


def _read_crop(path: Path, crop: CropKey) -> tuple[Image.Image, Box]:
    return _decode(path, crop.flipped), crop.box


def _crop_to_tensor(description: InputDescription, raw: tuple[Image.Image, Box]) -> torch.Tensor:
    return crop_box(*raw, description)


@lru_cache(maxsize=2)  # crops are sorted by image, so each image is decoded once
def _decode(path: Path, flipped: bool) -> Image.Image:  # noqa: FBT001 - private
    image = read_image(path, upright=False)
    return ImageOps.mirror(image) if flipped else image


@lru_cache(maxsize=2)
def _open_features(path: Path) -> np.ndarray:
    features: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _return_source(source: CachedPairSource) -> CachedPairSource:
    return source
