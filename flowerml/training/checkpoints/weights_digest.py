"""The digest of a checkpoint's weights alone: the same for a run's `best.pth` and for what is delivered of it."""

import hashlib
from collections.abc import Mapping

import torch


def weights_digest(state_dict: Mapping[str, torch.Tensor]) -> str:
    """sha256 (hex) over names, types, shapes and values of all tensors, in the order of their names.

    Unlike a file's sha256 it does not change with what a checkpoint says of its split, paths or calibration.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
