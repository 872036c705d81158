"""What a fork server draws beforehand: a run forked from it has nothing more to import for its figures and pages."""

import os
import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
import os, sys
import numpy as np
from flowerml.reporting.warm_up import warm_up_reporting
warm_up_reporting()
assert len(os.listdir("/proc/self/task")) == 1 if os.path.isdir("/proc/self/task") else True
before = set(sys.modules)
from flowerml.reporting.figures.curves import curves_figure
from flowerml.reporting.errors_page import Mistake, errors_page
from flowerml.reporting.figures.drawing import confusion_figure, png_bytes
rows = [{"epoch": n, "train_loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.5, "val_macro_f1": 0.5, "lr_head": 1e-3}
    for n in range(1, 9)]
png_bytes(curves_figure(rows, best_epoch=3, lr_changes=[4], freeze_epochs=2, title="a run"))
png_bytes(confusion_figure(np.ones((5, 5), dtype=int), list("abcde"), "a run"))
errors_page([Mistake("a/1.jpg", "a", "b", 0.1, 0.9)], title="a run", total=3, thumbnail=lambda _: None)
print(sorted(set(sys.modules) - before))
"""


def test_a_run_imports_nothing_more_and_no_thread_was_started():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
