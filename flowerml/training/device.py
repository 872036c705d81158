"""Choice of device, of the autocast precision, and of the number of loader processes."""

import os

import torch

from flowerml.errors import UserError


def pick_device(requested: str | None) -> torch.device:
    """The requested device, or the best one available.

    Raises:
        UserError: this machine has no such device; the message lists those it has.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    if requested is None:
        return torch.device("cuda" if "cuda:0" in available else available[-1])
    if (f"{requested}:0" if requested == "cuda" else requested) not in available:
        raise UserError(f"--device {requested}: this machine has {', '.join(available)}")
    return torch.device(requested)


def default_workers(device: torch.device) -> int:
    """Number of loader processes: up to 16 for a GPU; at most 1 on a CPU, which needs its cores for the model."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores) if device.type == "cuda" else min(1, cores - 1)


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
