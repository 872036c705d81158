"""Choice of device, of the autocast precision, and of the number of loader processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowerml.errors import UserError
from flowerml.process.allocator import keep_freed_memory
from flowerml.process.threads import usable_cores

_SMALL_STEP = 20_000_000  # multiply-adds: some milliseconds for one thread


def pick_device(requested: str | None, processes: int = 1) -> torch.device:
    """The requested device, or the best one available. Each of several `processes` takes a GPU of its own, or the CPU.

    Raises:
        UserError: this machine has no such device, or too few; the message lists those it has.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if processes > 1 and requested != "cpu" and processes > gpus:
        raise UserError(
            f"--gpus {processes}: this machine has {gpus or 'no GPU'}. Allowed: as many as it has; with --device cpu"
            " any number of processes on the CPU"
        )
    if requested is None:
        return torch.device("cuda" if "cuda:0" in available else available[-1])
    if (f"{requested}:0" if requested == "cuda" else requested) not in available:
        raise UserError(f"--device {requested}: this machine has {', '.join(available)}")
    return torch.device(requested)


def use_device(requested: str | None, processes: int = 1) -> torch.device:
    """`pick_device`, and this process set up to compute on it: for a CPU it keeps the memory that it frees."""
    device = pick_device(requested, processes)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def rank_device(requested: str | None, local_rank: int) -> str:
    """The device of a process, where the one with rank 0 on its host has `requested`."""
    return f"cuda:{local_rank}" if requested is not None and requested.startswith("cuda") else requested or "cpu"


@contextmanager
def shared_threads(device: torch.device, processes: int) -> Iterator[None]:
    """Context in which this process leaves `processes` - 1 others their share of its threads on a CPU.

    OMP_NUM_THREADS wins.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, before // processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def threads_for_steps(device: torch.device, multiply_adds: int) -> Iterator[None]:
    """Context for steps of that many multiply-adds (forward): small ones are computed by one thread on a CPU.

    To wake the others takes longer than their share of the work, and much longer where other processes use the cores.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and multiply_adds <= _SMALL_STEP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_workers(device: torch.device, processes: int = 1) -> int:
    """Number of loader processes of each of `processes` that train.

    Up to 16 for a GPU, all together as many as there are cores; at most 1 on a CPU, which needs its cores for the
    model.
    """
    cores = usable_cores()
    return max(1, min(16, cores // processes)) if device.type == "cuda" else min(1, cores - 1)


def autocast_dtype(device: torch.device, *, amp: bool) -> torch.dtype | None:
    """The precision of mixed-precision training on this device; None (plain fp32) without AMP.

    bf16 where the device has it, fp16 on GPUs without it, fp32 on CPUs without it: oneDNN then converts around every
    operation, and a step of ConvNeXt V2 or ViT takes two to three times as long as in fp32.
    """
    if not amp or (device.type == "cpu" and not _cpu_has_bf16()):
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86, x86, ARM
