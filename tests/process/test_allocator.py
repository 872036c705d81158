"""Rule: a process that computes on a CPU keeps the memory that it frees, unless the user has set malloc up himself."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from flowerml.process.allocator import keep_freed_memory
from flowerml.training import device as devices
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
BLOCK_MB = 64  # above glibc's largest threshold, 32 MiB: handed back to the kernel by default

# Page faults of two rounds of allocating, filling and freeing; resident memory before and after it is handed back.
SCRIPT = f"""
import json, resource, sys
import numpy as np
from flowerml.process.allocator import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = np.ones({BLOCK_MB} * 2**20, dtype=np.uint8)
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
held = resident()
return_freed_memory()
print(json.dumps({{"kept": kept, "faults": faults, "returned": held - resident()}}))
"""


def measured(word, **variables):
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", SCRIPT, word], env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_memory_that_was_freed_is_used_again_without_page_faults():
    kept, default = measured("keep"), measured("")
    assert kept["kept"]
    assert kept["faults"][1] < kept["faults"][0] / 10
    assert default["faults"][1] > default["faults"][0] / 2  # huge pages or not, as many as the first time


def test_it_can_be_handed_back():
    assert measured("keep")["returned"] > 0.9 * BLOCK_MB


@pytest.mark.parametrize(("device", "times"), [("cpu", 1), ("meta", 0)])
def test_it_is_set_with_the_device(monkeypatch, device, times):
    """A GPU's host needs none of it; no GPU is at hand, so another device stands for it."""
    calls = []
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(devices, "pick_device", lambda *_: torch.device(device))
    assert devices.use_device(None) == torch.device(device)
    assert len(calls) == times


def test_every_command_that_computes_sets_it():
    """`pick_device` alone would leave it out."""
    callers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "flowerml").rglob("*.py")
        if re.search(r"\b(pick|use)_device\(", path.read_text(encoding="utf-8"))
    }
    assert callers == {
        "flowerml/training/device.py",
        "flowerml/runs/prepare.py",
        "flowerml/runs/evaluate.py",
        "flowerml/runs/soup/evaluator.py",
        "flowerml/runs/robustness.py",
        "flowerml/runs/data_check.py",
        "flowerml/runs/folds/unlabelled.py",
        "flowerml/cli/commands/models/predict.py",
        "flowerml/cli/commands/models/explain.py",
        "flowerml/cli/commands/models/app.py",
    }
    picking = [path for path in callers if "pick_device" in (ROOT / path).read_text(encoding="utf-8")]
    assert picking == ["flowerml/training/device.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MALLOC_MMAP_MAX_", "65536"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=65536"),
    ],
)
def test_what_the_user_has_decided_stays(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    assert not keep_freed_memory()
