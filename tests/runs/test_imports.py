"""What a training imports: libraries that few runs need are imported by those."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_training_imports_no_library_that_it_does_not_need():
    code = "import sys, flowerml.runs.train, flowerml.tracking; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert modules >= {"torch", "timm", "mlflow"}
    assert not modules & {"matplotlib", "sklearn", "scipy.stats", "open_clip", "optuna", "ray"}
