"""Arithmetic per second of a training, and its share of the GPU's peak."""

import pytest
import torch

from flowerml.settings import resolve
from flowerml.training.performance.utilization import peak_tflops
from flowerml.training.performance.utilization import utilization as measured_utilization

CPU = torch.device("cpu")
RATES = (100.0, 200.0, 300.0, 400.0)


def history(*rates):
    return [{"epoch": float(number), "images_per_second": rate} for number, rate in enumerate(rates, start=1)]


def settings(**changes):
    given = {"model": "timm:test_vit", "weights": "none", "train_dir": "x", "epochs": 4, "warmup_epochs": 0}
    return resolve({**given, "freeze_backbone_epochs": 0, **changes})[0]


def utilization(history, given, multiply_adds, device, frozen=None):
    """Of a run that froze its backbone as long as its settings say, unless told otherwise."""
    frozen = given.freeze_backbone_epochs if frozen is None else frozen
    return measured_utilization(history, given, multiply_adds, device, frozen_epochs=frozen)


def test_a_step_has_three_forward_passes_of_two_operations_a_multiply_add():
    assert utilization(history(*RATES), settings(), 10**9, CPU) == {"train_tflops": pytest.approx(2e9 * 3 * 250 / 1e12)}


def test_epochs_with_a_frozen_backbone_do_not_count():
    frozen = settings(freeze_backbone_epochs=3)
    assert utilization(history(*RATES), frozen, 10**9, CPU)["train_tflops"] == pytest.approx(2e9 * 3 * 400 / 1e12)
    assert utilization(history(*RATES), settings(freeze_backbone_epochs=4, lr_backbone=0.0), 10**9, CPU) == {}


def test_epochs_count_from_where_a_shortened_run_has_thawed():
    """--max-minutes shortens the frozen epochs with the run: what the settings say is not what was frozen."""
    found = utilization(history(*RATES[:2]), settings(freeze_backbone_epochs=3), 10**9, CPU, frozen=1)
    assert found["train_tflops"] == pytest.approx(2e9 * 3 * 200 / 1e12)


def test_sam_passes_twice_and_lora_computes_no_gradient_of_frozen_weights():
    plain = utilization(history(*RATES), settings(), 10**9, CPU)["train_tflops"]
    assert utilization(history(*RATES), settings(sam_rho=0.05), 10**9, CPU)["train_tflops"] == pytest.approx(2 * plain)
    lora = utilization(history(*RATES), settings(lora_rank=4), 10**9, CPU)["train_tflops"]
    assert lora == pytest.approx(plain * 2 / 3)


def test_the_gpus_peak_is_found_by_its_name():
    assert peak_tflops("NVIDIA A100-SXM4-80GB") == 312.0
    assert peak_tflops("NVIDIA A10G") == 70.0
    assert peak_tflops("NVIDIA H100 PCIe") == 756.0
    assert peak_tflops("NVIDIA H100 80GB HBM3") == peak_tflops("NVIDIA H200") == 989.5
    assert peak_tflops("NVIDIA L40S") == 362.0
    assert peak_tflops("Tesla T4") == 65.0
    assert peak_tflops("NVIDIA GeForce GTX 1050") is None


def test_mfu_is_the_share_of_the_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    found = utilization(history(*RATES), settings(), 50 * 10**9, torch.device("cuda"))
    assert found["mfu"] == pytest.approx(found["train_tflops"] / 312)
    assert "mfu" not in utilization(history(*RATES), settings(amp=False), 10**9, torch.device("cuda"))
