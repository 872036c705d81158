"""Features of whole images, computed once for all runs with the same backbone and preprocessing."""

import hashlib
import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from flowerml.data.features.store import FeatureStore
from flowerml.data.loader import Example, Transform
from flowerml.data.scan_cache import cache_folder
from flowerml.data.workers.errors import worker_death_as_error
from flowerml.human_units import amount, duration
from flowerml.models import BuiltModel, frozen_backbones
from flowerml.settings import ModelSpec
from flowerml.settings.families.model_catalog import Library
from flowerml.tasks.backbone_features import extract_batches, update_with_backbone

logger = logging.getLogger(__name__)

_FORMAT = "image-features-1"  # part of the folder's name: change it whenever decoding or preprocessing change
_SAVE_EVERY_S = 60.0  # a pass that is stopped is at most this far behind when it is started again
_LIBRARIES = {Library.TIMM: "timm", Library.OPEN_CLIP: "open_clip_torch"}


class ImageFeatures:
    """Features (N, F) float32 of any examples with a digest, on the CPU: from memory, else from disk, else computed.

    `transform` is the deterministic view; it must have a `repr` that says all about it (a frozen dataclass has).
    `dtype` is that of autocast, None for fp32. `noun` is what messages call the examples.
    """

    def __init__(
        self,
        built: BuiltModel,
        spec: ModelSpec,
        transform: Transform,
        device: torch.device,
        workers: int,
        *,
        dtype: torch.dtype | None = None,
        noun: str = "pictures",
    ) -> None:
        self._built, self._spec, self._transform = built, spec, transform
        self._device, self._workers, self._dtype, self._noun = device, workers, dtype, noun
        self._store = FeatureStore(cache_folder() / "features" / _store_name(built, spec, transform, dtype))
        self._rows: dict[str, np.ndarray] = {}

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return self._store.folder

    def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
        """Features (N, F) of the examples, in order.

        Raises:
            RunFailed: an image can't be read any more.
            DataLoaderDied: a worker process died.
        """
        by_digest = {_digest_of(example): example for example in examples}
        stored = self._store.get(by_digest.keys() - self._rows.keys())
        self._rows |= stored
        missing = {digest: example for digest, example in by_digest.items() if digest not in self._rows}
        if missing:
            self._compute(missing, len(by_digest))
        elif stored:
            logger.info(f"features of {len(by_digest):,} {self._noun} are there from before: {self.folder}")
        return torch.from_numpy(np.stack([self._rows[_digest_of(example)] for example in examples]))

    @worker_death_as_error()
    def _compute(self, missing: dict[str, Example], total: int) -> None:
        """Compute the features of the `missing` images and store them, at times and at the end or an interrupt."""
        known = f" ({total - len(missing):,} are there from before)" if len(missing) < total else ""
        logger.info(f"features of {len(missing):,} {self._noun} are computed{known}")
        batches = extract_batches(
            list(missing.values()),
            self._transform,
            built=self._built,
            spec=self._spec,
            device=self._device,
            workers=self._workers,
            dtype=self._dtype,
            log_every_s=15.0,
        )
        digests = iter(missing)
        unsaved: dict[str, np.ndarray] = {}
        started = saved = time.monotonic()
        can_save = True
        try:
            for _, features in batches:
                unsaved |= {next(digests): row for row in features}
                if can_save and time.monotonic() - saved > _SAVE_EVERY_S:
                    can_save, saved = self._keep(unsaved, save=True), time.monotonic()
                    unsaved = {}
        finally:
            self._keep(unsaved, save=can_save)
        row = self._rows[next(iter(missing))]
        logger.info(
            f"features of {len(missing):,} {self._noun} ({len(row):,} numbers each) in"
            f" {duration(time.monotonic() - started)}, kept in {self.folder} ({amount(len(missing) * row.nbytes)})"
        )

    def _keep(self, rows: dict[str, np.ndarray], *, save: bool) -> bool:
        """Keep features in memory, and on disk with `save`. Returns False where that can't be written to."""
        self._rows |= rows
        return self._store.put(list(rows), np.stack(list(rows.values()))) if save and rows else save


def _store_name(built: BuiltModel, spec: ModelSpec, transform: Transform, dtype: torch.dtype | None) -> str:
    """Digest of everything but the images: backbone and weights, preprocessing, precision, decoding libraries."""
    library = _LIBRARIES[spec.library]
    versions = [f"{name} {version(name)}" for name in ("pillow", library)]
    parts = (
        _FORMAT,
        str(dtype or torch.float32).removeprefix("torch."),
        spec.library,
        spec.architecture,
        spec.hub,
        transform,
        *versions,
    )

    def compute() -> str:
        digest = hashlib.sha256(repr(parts).encode())
        update_with_backbone(digest, built)
        return digest.hexdigest()[:32]

    return frozen_backbones.remember(built.model.backbone, repr(parts), compute)


def _digest_of(example: Example) -> str:
    assert example.sha256 is not None, f"{example.id} comes without a digest"
    return example.sha256
