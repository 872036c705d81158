"""How a worker process hands a batch over: in shared memory where that has room, through a pipe where it has not.

Left to torch, tensors are moved to shared memory in a background thread of the worker, when the batch is on its way
already: where that fails the batch is lost, and the training waits for it for good.
"""

import logging
import os
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch

from flowerml.data.inputs import Inputs, tensors_of
from flowerml.errors import one_line

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"  # looked at, nothing is written # nosec B108
# Left free: semaphores of further loaders live there too, and another process may take some between look and use.
_RESERVE = 4 * 2**20  # bytes
_warned = threading.Event()  # once per process is enough


@dataclass(frozen=True)
class SharedBatch:
    """A batch on its way from a worker process to the training.

    `inputs` are tensors in shared memory; or numpy arrays, which are pickled whole, as `labels` (N,) int64 are: then
    `piped_because` says why.
    """

    inputs: tuple[torch.Tensor, ...] | tuple[np.ndarray, ...]
    is_tuple: bool
    piped_because: str
    labels: np.ndarray
    ids: list[str]

    def restore(self) -> tuple[Inputs, torch.Tensor, list[str]]:
        """The batch as it was. The first that came through a pipe is warned about."""
        if self.piped_because:
            _warn_about_pipe(self.piped_because)
        tensors = tuple(torch.as_tensor(part) for part in self.inputs)
        return tensors if self.is_tuple else tensors[0], torch.from_numpy(self.labels), self.ids

    def pin_memory(self) -> "SharedBatch":
        """The batch with its inputs in pinned memory: torch calls it in a thread that receives batches for a GPU."""
        return replace(self, inputs=tuple(torch.as_tensor(part).pin_memory() for part in self.inputs))


def share(inputs: Inputs, labels: torch.Tensor, ids: list[str]) -> SharedBatch:
    """The batch with its inputs in shared memory; as arrays where that has no room or can't be used."""
    tensors, is_tuple = tensors_of(inputs), isinstance(inputs, tuple)
    size = sum(tensor.nbytes for tensor in tensors)
    reason = f"no room for batches of {size / 2**20:,.1f} MiB"
    if has_room(size):
        try:
            for tensor in tensors:
                tensor.share_memory_()
            return SharedBatch(tensors, is_tuple, "", labels.numpy(), ids)
        except (RuntimeError, OSError) as error:  # full after all, not writable, not there, too many open files
            reason = f"batches of {size / 2**20:,.1f} MiB: {one_line(str(error).splitlines()[0])}"
    return SharedBatch(tuple(tensor.numpy() for tensor in tensors), is_tuple, reason, labels.numpy(), ids)


def has_room(size: int, folder: str = SHARED_MEMORY) -> bool:
    """Whether `size` bytes fit into shared memory; True where that can't be asked."""
    try:
        free = os.statvfs(folder)
    except (OSError, AttributeError):
        return True
    return size + _RESERVE <= free.f_bavail * free.f_frsize


def _warn_about_pipe(reason: str) -> None:
    if _warned.is_set():
        return
    _warned.set()
    logger.warning(
        f"shared memory ({SHARED_MEMORY}): {reason}. Worker processes hand them over through a pipe, which is slower."
        " More of it (docker run --shm-size 2g), a smaller --batch-size or --workers 0 avoids that"
    )
