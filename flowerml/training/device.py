"""Where to compute, and in which precision."""

import torch

from flowerml.errors import UserError


def pick_device(asked: str | None) -> torch.device:
    """The asked device, or the best there is.

    Raises:
        UserError: this machine has no such device; says which it has.
    """
    there = ["cpu"]
    if torch.cuda.is_available():
        there += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    if asked is None:
        return torch.device("cuda" if "cuda:0" in there else there[-1])
    if (f"{asked}:0" if asked == "cuda" else asked) not in there:
        raise UserError(f"--device {asked}: this machine has {', '.join(there)}")
    return torch.device(asked)


def autocast_dtype(device: torch.device, *, amp: bool) -> torch.dtype | None:
    """bf16 where the device has it, fp16 on GPUs without it, None (plain fp32) without AMP."""
    if not amp:
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
