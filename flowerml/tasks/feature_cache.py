"""What a frozen backbone sees of a pair's crops, computed once and kept: an epoch then costs what its head costs."""

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
from flowerml.data.inputs import to_device, to_memory_format
from flowerml.data.loader import Example, evaluation_loader
from flowerml.data.pair_views import PairExample, Sides, crop_box, swap_boxes
from flowerml.data.relations.records import Box, Pair
from flowerml.data.transforms import InputDescription
from flowerml.files import write_with
from flowerml.human_units import duration
from flowerml.models import Built
from flowerml.models.builders import set_channels_last
from flowerml.progress_bar import track
from flowerml.settings import ModelSpec

logger = logging.getLogger(__name__)

_FORMAT = "features-1"  # another one whenever a crop is cut another way: kept features of before are not found then
_AT_ONCE = 64  # crops that go through the backbone together


@dataclass(frozen=True)
class Crop:
    """A box cut out of a picture, of the mirrored one where `flipped` (the box is then that of the mirrored picture)."""

    image: str
    box: Box
    flipped: bool


@dataclass(frozen=True)
class CachedPairSource:
    """A pair of which no picture is read any more: the rows of its two crops in the kept features, and of the mirrored
    ones.
    """

    pair: Pair
    label: int
    flipped_label: int | None
    features: Path
    rows: tuple[int, int]
    mirrored_rows: tuple[int, int] | None

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Pooled features (F,) of subject and object."""
        rows = self.mirrored_rows if flipped else self.rows
        assert rows is not None, "mirrored features are kept of what is trained on mirrored"
        kept = _opened(self.features)
        return torch.from_numpy(np.array(kept[rows[0]])), torch.from_numpy(np.array(kept[rows[1]]))

    def swapped(self) -> "CachedPairSource":
        """As `PairSource.swapped`."""
        return replace(self, pair=swap_boxes(self.pair), rows=(self.rows[1], self.rows[0]), mirrored_rows=None)


def cached_views(
    examples: Sequence[PairExample],
    flips: Sequence[bool],
    *,
    root: Path,
    sha256: Mapping[str, str],
    built: Built,
    spec: ModelSpec,
    device: torch.device,
    workers: int,
    folder: Path,
) -> list[PairExample]:
    """The examples with the backbone's features in the place of their pictures, in the same order.

    `flips` says of which the mirrored crops are wanted too; `root` holds the pictures, `sha256` their content by image.
    Features are looked up in `folder`, by everything they hang on, or computed and kept.

    Raises:
        UserError: the folder can't be written to, or the disk is full.
    """
    crops = {
        wanted: None
        for example, flip in zip(examples, flips, strict=True)
        for wanted in _crops_of(example.pair, flip=flip)
    }
    rows = {wanted: row for row, wanted in enumerate(sorted(crops, key=_by_picture))}
    path = folder / f"{_key(rows, sha256, built)}.npy"
    if path.exists():
        logger.info(f"features of {len(rows):,} crops are there from an earlier run: {path}")
    else:
        started = time.monotonic()
        features = _compute(list(rows), root, built, spec, device, workers)
        _keep(path, features)
        size, took = features.nbytes / 2**20, duration(time.monotonic() - started)
        logger.info(
            f"features of {len(features):,} crops ({features.shape[1]} numbers each) in {took}, kept in {path}"
            f" ({size:,.0f} MiB)"
        )
    made = []
    for example, flip in zip(examples, flips, strict=True):
        first, second, *others = (rows[wanted] for wanted in _crops_of(example.pair, flip=flip))
        mirror = (others[0], others[1]) if others else None
        kept = CachedPairSource(example.pair, example.label, example.flipped_label, path, (first, second), mirror)
        made.append(replace(example, read=partial(_same, kept)))
    return made


def _crops_of(pair: Pair, *, flip: bool) -> list[Crop]:
    crops = [Crop(pair.image, box, flipped=False) for box in (pair.subject, pair.object)]
    if flip:
        mirror = pair.flipped()
        crops += [Crop(pair.image, box, flipped=True) for box in (mirror.subject, mirror.object)]
    return crops


def pair_features(
    examples: Sequence[PairExample], *, root: Path, built: Built, spec: ModelSpec, device: torch.device, workers: int
) -> np.ndarray:
    """What the backbone sees of subject and object, (N, 2F) float32, looked up where it has been kept, computed
    otherwise.
    """
    sights = [example.read() for example in examples[:1]]
    if sights and isinstance(sights[0], CachedPairSource):
        sides = [example.read().sides(built.description, flipped=False) for example in examples]
        return np.stack([torch.cat(both).numpy() for both in sides])
    crops = {wanted: None for example in examples for wanted in _crops_of(example.pair, flip=False)}
    rows = {wanted: row for row, wanted in enumerate(sorted(crops, key=_by_picture))}
    features = _compute(list(rows), root, built, spec, device, workers)
    places = np.array([[rows[wanted] for wanted in _crops_of(example.pair, flip=False)] for example in examples])
    return features[places].reshape(len(examples), -1)


def _by_picture(one: Crop) -> tuple[str, bool, str]:
    return one.image, one.flipped, str(one.box)


def _compute(
    crops: Sequence[Crop], root: Path, built: Built, spec: ModelSpec, device: torch.device, workers: int
) -> np.ndarray:
    """Features (N, F) float32 of the crops, in fp32."""
    training = built.model.training
    model = built.model.to(device).eval()
    memory_format = set_channels_last(model, spec)
    looks = [Example(one.image, 0, partial(_cut, root / one.image, one)) for one in crops]
    loader = evaluation_loader(looks, partial(_view, built.description), batch_size=_AT_ONCE, workers=workers)
    found = []
    with torch.inference_mode():
        for inputs, _, _ in track(loader.epoch(1), "features", total=len(loader), log_every_s=120):
            pictures = to_memory_format(to_device(inputs, device), memory_format)
            assert isinstance(pictures, torch.Tensor)
            found.append(model.pooled(pictures).float().cpu().numpy())
    model.train(training)
    return np.concatenate(found)


def _keep(path: Path, features: np.ndarray) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.save(handle, features, allow_pickle=False)

    write_with(path, fill, needed=features.nbytes)


def _key(crops: Iterable[Crop], sha256: Mapping[str, str], built: Built) -> str:
    """What the features hang on: pictures by content, boxes, the backbone's weights by content, the model's input
    description.
    """
    digest = hashlib.sha256(f"{_FORMAT} {built.description}".encode())
    for one in crops:
        digest.update(f"{sha256[one.image]} {one.box} {one.flipped}\n".encode())
    for name, tensor in built.model.backbone.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _cut(path: Path, one: Crop) -> tuple[Image.Image, Box]:
    return _picture(path, one.flipped), one.box


def _view(description: InputDescription, cut: tuple[Image.Image, Box]) -> torch.Tensor:
    return crop_box(*cut, description)


@lru_cache(maxsize=2)  # crops of one picture follow each other: it is decoded once
def _picture(path: Path, flipped: bool) -> Image.Image:  # noqa: FBT001 - private
    picture = read_image(path, upright=False)
    return ImageOps.mirror(picture) if flipped else picture


@lru_cache(maxsize=2)
def _opened(path: Path) -> np.ndarray:
    features: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _same(sight: CachedPairSource) -> CachedPairSource:
    return sight
