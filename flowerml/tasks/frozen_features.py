"""Features for the epochs in which the backbone is frozen: augmented views of the training pictures, computed once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from flowerml.data.augment.opencv import OPENCV
from flowerml.data.image_cache.choice import OFF
from flowerml.data.inputs import Inputs, Relabelled
from flowerml.data.loader import Example, Transform
from flowerml.data.rng import seeded
from flowerml.models import BuiltModel
from flowerml.settings import Settings, find_model
from flowerml.settings.declaration import fields
from flowerml.tasks.base import FrozenFeatures
from flowerml.tasks.image_features import ImageFeatures
from flowerml.training.device import autocast_dtype

_Key = tuple[object, ...]
_LATER = (
    "crop_scale",
    "color_jitter",
    "trivialaugment",
)  # settings of the augmentation that came after such features had been kept


@dataclass(frozen=True)
class KeyedTransform:
    """A random transform with the draws of a key; `recipe` is all that its result depends on besides input and key."""

    transform: Transform = field(repr=False)
    recipe: tuple[object, ...]

    def __call__(self, keyed: tuple[Any, _Key]) -> Inputs | Relabelled:
        """The view of a raw input under its key."""
        raw, key = keyed
        with seeded(*key):
            return self.transform(raw)


def compute_frozen_features(
    built: BuiltModel,
    settings: Settings,
    train: tuple[Sequence[Example], Transform],
    val: tuple[Sequence[Example], Transform],
    device: torch.device,
    workers: int,
    repeats: Sequence[int],
) -> FrozenFeatures:
    """Features in the training's own precision, from disk where earlier runs with the same seed have computed them.

    View k of a training example is the one that epoch k draws; `repeats` (one per example) oversample, each with a view
    of its own.

    Raises:
        RunFailed: an image can't be read any more.
        DataLoaderDied: a worker process died.
    """
    dtype = autocast_dtype(device, amp=settings.amp)
    extract = partial(ImageFeatures, built, find_model(settings.model), device=device, workers=workers, dtype=dtype)
    examples, transform = train
    views = min(settings.freeze_views, settings.freeze_backbone_epochs)
    keyed = [
        _with_key(example, (settings.seed, "augment", epoch, example.id, repeat))
        for epoch in range(1, views + 1)
        for example, count in zip(examples, repeats, strict=True)
        for repeat in range(count)
    ]
    features = extract(KeyedTransform(transform, tuple(_recipe(built, settings))), noun="augmented views")(keyed)
    val_examples, val_transform = val
    val_features = extract(val_transform)(val_examples) if val_examples else None
    return FrozenFeatures(features.chunk(views), val_features)


def _with_key(example: Example, key: _Key) -> Example:
    """The example with its input's key, as `KeyedTransform` takes both; its digest is that of both."""
    digest = hashlib.sha256("\t".join(map(str, (example.sha256, *key))).encode("utf-8", "surrogateescape"))
    return replace(example, read=partial(_read_with_key, example, key), sha256=digest.hexdigest())


def _read_with_key(example: Example, key: _Key) -> tuple[Any, _Key]:
    return example.read(), key


def _recipe(built: BuiltModel, settings: Settings) -> Iterator[object]:
    yield from (built.description, settings.randaugment, settings.random_erasing)
    for name in _LATER:  # left out at its default: features of before are found again
        if (value := getattr(settings, name)) != fields()[name].default:
            yield f"{name} {value}"
    yield settings.cache_images != OFF  # cached pictures are reduced ones
    if settings.augment_backend == OPENCV:
        import cv2  # the name of its distribution varies

        yield f"opencv {cv2.__version__}"
    else:
        yield f"torchvision {version('torchvision')}"
