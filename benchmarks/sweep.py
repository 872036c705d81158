"""What a sweep costs beside the training: the start of a command, the fixed part of a trial, the way from one trial to
the next. 3 minutes.

    python benchmarks/sweep.py [--trials 6] [--workers 1]

Trials of one and of three epochs on the same generated pictures: what is left of a trial when its epochs are taken out
is its fixed part (data, model, checkpoint, figures, pages, MLflow on SQLite). Times are Optuna's own, from the study.
Medians; run it on an idle machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
from rich.console import Console
from rich.table import Table

from flowerml.data.synthetic.flowers import make_flowers
from flowerml.sweep.trials import requested_trials

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    *(
        "--model",
        "convnextv2_atto",
        "--weights",
        "none",
        "--img-size",
        "64",
        "--warmup-epochs",
        "0",
        "--freeze-backbone-epochs",
        "0",
    ),
    *("--batch-size", "32", "--data-workers", "0", "--device", "cpu", "--pruner", "none"),
]


def sweep(folder: Path, epochs: int, trials: int, workers: int) -> tuple[float, list[float], list[float]]:
    """Seconds from the command to its first trial, of each trial but a worker's first, and between two trials of one
    worker.
    """
    storage = f"sqlite:///{folder / 'sweeps.db'}"
    name = f"e{epochs}"
    line = [
        sys.executable,
        "-m",
        "flowerml.cli.main",
        "sweep",
        *SMALL,
        "--train-dir",
        str(folder / "flowers"),
        "--epochs",
        str(epochs),
    ]
    line += [
        "--trials",
        str(trials),
        "--workers",
        str(workers),
        "--runs-root",
        str(folder / "runs"),
        "--storage",
        storage,
        "--study",
        name,
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
    began = time.time()
    subprocess.run(line, env=environment, check=True, cwd=folder, capture_output=True)
    done = list(requested_trials(optuna.load_study(study_name=name, storage=storage).trials).values())
    spans = [(trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()) for trial in done]
    between = (
        [after[0] - before[1] for before, after in zip(spans, spans[workers:], strict=False)] if workers == 1 else []
    )
    return spans[0][0] - began, [end - start for start, end in spans[workers:]], between


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_flowers(folder / "flowers", per_class=40, size=96, seed=3)
        begins, short, between = sweep(folder, 1, asked.trials, asked.workers)
        _, long, _ = sweep(folder, 3, asked.trials, asked.workers)
    one, three = statistics.median(short), statistics.median(long)
    table = Table("seconds", "", title=f"{asked.trials} trials of 200 pictures at 64 px, {asked.workers} worker(s)")
    table.add_row("from the command to the first trial", f"{begins:.1f}")
    table.add_row("a trial of one epoch", f"{one:.2f}")
    table.add_row("an epoch", f"{(three - one) / 2:.2f}")
    table.add_row("fixed part of a trial", f"{one - (three - one) / 2:.2f}")
    if between:
        table.add_row("from a trial to the next", f"{statistics.median(between):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
