"""The precision of mixed-precision training by device."""

import pytest
import torch

from flowerml.training.device import autocast_dtype


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, None),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "aarch64", "bf16": True}, torch.bfloat16),
        ({}, None),
    ],
)
def test_a_cpu_without_bf16_instructions_trains_in_fp32(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert autocast_dtype(torch.device("cpu"), amp=True) is expected
    assert autocast_dtype(torch.device("cpu"), amp=False) is None
