"""The processes (ranks) of one distributed training, and what they tell each other.

Every rank trains on its share of each batch and holds the same weights: DistributedDataParallel (Li et al. 2020)
averages their gradients. Rank 0 alone writes, tracks and decides; a training in one process is the only rank of its
group, and nothing here then costs anything.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flowerml.data.inputs import Inputs, batch_size_of, tensors_of
from flowerml.data.loader import Share
from flowerml.models.classifier import Network

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)  # what ranks wait for each other; a rank may read a slow disk


class Ranks:
    """This process (`rank` of `world`) in its group; `connect` makes one of several processes."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def are_several(self) -> bool:
        """Whether there are other processes."""
        return self.world > 1

    @property
    def whose(self) -> str:
        """Whose examples a message lists: empty for a single process."""
        return f" of process {self.rank + 1} of {self.world}" if self.are_several else ""

    @property
    def share(self) -> Share:
        """This process's part of each batch."""
        return Share(self.rank, self.world)

    def any(self, *, flag: bool) -> bool:
        """Whether `flag` is set on any rank. All ranks must call it, each the same number of times."""
        if not self.are_several:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over ranks, in place, without waiting for a GPU."""
        if self.are_several:
            dist.all_reduce(tensor)
        return tensor

    def from_first(self, value: T) -> T:
        """Rank 0's value of a small object, on every rank."""
        values = [value]
        if self.are_several:
            dist.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def all_values(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank."""
        if not self.are_several:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def whole_batch(self, inputs: Inputs, labels: torch.Tensor, count: int) -> tuple[Inputs, torch.Tensor]:
        """The batch of `count` examples of which each rank has its share: mixing takes any two of them."""
        if not self.are_several:
            return inputs, labels
        sizes = [len(range(count)[Share(rank, self.world).of(count)]) for rank in range(self.world)]
        whole = tuple(_gather(part, sizes) for part in tensors_of(inputs))
        return whole[0] if isinstance(inputs, torch.Tensor) else whole, _gather(labels, sizes)

    def own_part(self, inputs: Inputs, targets: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """This rank's share of a whole batch."""
        if not self.are_several:
            return inputs, targets
        own = self.share.of(batch_size_of(inputs))
        if isinstance(inputs, torch.Tensor):
            return inputs[own], targets[own]
        return tuple(part[own] for part in inputs), targets[own]

    def synchronize(self, model: Network, device: torch.device) -> None:
        """Give all ranks rank 0's weights; on a GPU, batch statistics are computed over all ranks from now on."""
        if not self.are_several:
            return
        with torch.no_grad():
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)
        if device.type == "cuda":  # torch has no implementation for a CPU: there each rank normalizes by its share
            from timm.layers import convert_sync_batchnorm

            model.backbone, model.head = convert_sync_batchnorm(model.backbone), convert_sync_batchnorm(model.head)

    def share_buffers(self, model: nn.Module) -> None:
        """Give all ranks rank 0's batch-norm statistics: on a CPU each has seen its own pictures."""
        if not self.are_several:
            return
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

    def replica(self, model: Network, forward: Callable[[Inputs], torch.Tensor]) -> nn.Module | None:
        """`forward` (the model, perhaps compiled) with gradients averaged over ranks; None for a single process.

        A frozen backbone has no gradients, so this must be made anew when the model is frozen or unfrozen. All ranks
        must call it.
        """
        if not self.are_several:
            return None
        trained = model.head if model.frozen else model
        return DistributedDataParallel(_Replica(trained, forward), gradient_as_bucket_view=True)


SINGLE = Ranks()


class _Replica(nn.Module):
    """A forward function, and the module whose gradients DistributedDataParallel looks after."""

    def __init__(self, trained: nn.Module, forward: Callable[[Inputs], torch.Tensor]) -> None:
        super().__init__()
        self.trained = trained
        self._function = forward

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self._function(inputs)


def _gather(tensor: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The rows of all ranks; shares may differ in size, and are filled up for the exchange."""
    largest = max(sizes)
    filled = torch.zeros((largest, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
    filled[: len(tensor)] = tensor
    parts = [torch.empty_like(filled) for _ in sizes]
    dist.all_gather(parts, filled)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def connect(store: dist.Store, rank: int, world: int, device: torch.device) -> Ranks:
    """Join the group of a training; returns when all its ranks have. `disconnect` leaves it."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.index is not None:
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_TIMEOUT)
    return Ranks(rank, world)


def disconnect() -> None:
    """Leave the group. Collectives of the others that still wait for this process then fail."""
    if dist.is_initialized():
        dist.destroy_process_group()
