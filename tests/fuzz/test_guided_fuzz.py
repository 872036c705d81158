"""tools/guided_fuzz.py: each of its targets is a test that Atheris can call."""

from importlib import import_module

import pytest

from flowerml.data.sources import packed
from tools.guided_fuzz import TARGETS


@pytest.mark.parametrize(("module", "target"), [(module, name) for module, names in TARGETS.items() for name in names])
def test_a_target_takes_bytes_and_needs_no_fixture(module, target, monkeypatch):
    monkeypatch.setattr(packed, "_SETTLING_S", 0)
    test = getattr(import_module(f"tests.fuzz.{module}"), f"test_{target}")
    taken = [test.hypothesis.fuzz_one_input(bytes([number]) * 4000) for number in (0, 1, 85)]
    assert any(part is not None for part in taken), "at least one of them is an input"
