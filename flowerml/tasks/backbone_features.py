"""Features of a backbone that stays frozen, computed in batches, and the digest of what they depend on."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from flowerml.data.augment.normalize import BatchNormalizer
from flowerml.data.inputs import to_device, to_memory_format
from flowerml.data.loader import Example, Transform, evaluation_loader
from flowerml.models import BuiltModel
from flowerml.models.builders import set_channels_last
from flowerml.models.precision import plain_fp32
from flowerml.progress_bar import track
from flowerml.settings import ModelSpec

_BATCH_SIZE = 64  # images


def extract_batches(
    examples: Sequence[Example],
    transform: Transform,
    *,
    built: BuiltModel,
    spec: ModelSpec,
    device: torch.device,
    workers: int,
    dtype: torch.dtype | None = None,
    log_every_s: float = 120.0,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Ids and features (N, F) float32 of the examples, batch by batch, in order; shows how far it is.

    `dtype` is that of autocast; None computes in fp32, without TF32. The model is in evaluation mode meanwhile.
    """
    training = built.model.training
    model = built.model.to(device).eval()
    memory_format = set_channels_last(model, spec)
    normalize = BatchNormalizer(built.description, device)
    precision = torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
    loader = evaluation_loader(examples, transform, batch_size=_BATCH_SIZE, workers=workers)
    try:
        for inputs, _, ids in track(loader.epoch(1), "features", total=len(loader), log_every_s=log_every_s):
            images = to_memory_format(normalize(to_device(inputs, device)), memory_format)
            assert isinstance(images, torch.Tensor)
            with torch.inference_mode(), plain_fp32(), precision:
                features = model.extract_features(images).float().cpu().numpy()  # sync point: one per batch
            yield ids, features
    finally:
        model.train(training)


def update_with_backbone(digest: "hashlib._Hash", built: BuiltModel) -> None:
    """Add every tensor of the backbone to a digest."""
    for name, tensor in built.model.backbone.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
