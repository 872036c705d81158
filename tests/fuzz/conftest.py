"""Every target runs in a folder of its own, from which nothing may get out, and must not take much memory."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from flowerml.process.peak_memory import peak_of_process

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # make fuzz: 2,000
LONGEST = timedelta(seconds=10)  # of one input
MEMORY = 500_000_000  # bytes beyond the start
RANDOM = bool(os.environ.get("FUZZ_RANDOM"))  # else the same inputs each time: CI does not fail by chance
_KEPT = Path(__file__).resolve().parents[2] / ".hypothesis" / "fuzz"  # failing inputs, tried first the next time

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=LONGEST,
    derandomize=not RANDOM,
    database=DirectoryBasedExampleDatabase(_KEPT) if RANDOM else None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _contained(tmp_path, monkeypatch):
    """The target works in `tmp_path/in`; what it leaves beside it, or takes beyond MEMORY, is a finding."""
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    before = peak_of_process()
    yield
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    after = peak_of_process()
    if before is not None and after is not None:
        assert after - before < MEMORY
