"""Model FLOP/s utilization (MFU): the arithmetic that training needs, as a share of what the GPU can do at its best.

Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways" (2022), appendix B. Recomputed activations (gradient
checkpointing) do not count.
"""

import statistics
from collections.abc import Sequence

import torch

from flowerml.settings import Settings
from flowerml.training.callbacks import EpochMetrics

# Dense bf16 (V100 and T4: fp16) TFLOP/s, from NVIDIA's data sheets. The first name that the device's name contains.
_PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.5,
    "GH200": 989.5,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.5,
    "A100": 312.0,
    "A30": 165.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


def peak_tflops(device: str) -> float | None:
    """Dense half-precision TFLOP/s of a GPU by the name that CUDA gives it; None for one that is not known."""
    return next((peak for name, peak in _PEAK_TFLOPS.items() if name in device), None)


def utilization(
    history: Sequence[EpochMetrics],
    settings: Settings,
    multiply_adds: int,
    device: torch.device,
    *,
    frozen_epochs: int,
) -> dict[str, float]:
    """`train_tflops` (TFLOP/s of one device) and, on a known GPU in half precision, `mfu` (0 to 1) as metrics.

    `multiply_adds` of a forward pass of one example; in the first `frozen_epochs` the backbone was frozen. Of epochs
    that train the whole model, the median counts; with a frozen backbone throughout there is none. Validation, and
    waiting for pictures, is part of the time.
    """
    rates = [row["images_per_second"] for row in history if row["epoch"] > frozen_epochs]
    if not rates or settings.probe:
        return {}
    # A backward pass has two products for each of the forward pass: for the inputs' gradient, and the weights'.
    passes = 1 + (1 if settings.lora_rank else 2)
    if settings.sam_rho:
        passes *= 2
    achieved = 2 * multiply_adds * passes * statistics.median(rates) / settings.gpus / 1e12
    values = {"train_tflops": achieved}
    peak = peak_tflops(torch.cuda.get_device_name(device)) if device.type == "cuda" and settings.amp else None
    return values if peak is None else {**values, "mfu": achieved / peak}
