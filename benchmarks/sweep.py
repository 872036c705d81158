"""The fixed cost of a sweep: the start of the command, a trial without its epochs, from one trial to the next.

    python benchmarks/sweep.py [--trials 6] [--workers 1]

About 3 minutes, on an idle machine. Trials of one and of three epochs on the same generated pictures; a trial without
its epochs is the fixed part (data, model, checkpoint, figures, pages, MLflow on SQLite). Times are the medians of
Optuna's own, from the study.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import optuna
from rich.table import Table
from support.harness import parse_arguments, print_table

from flowerml.data.synthetic.flowers import make_flowers
from flowerml.sweep.trials import requested_trials

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    *("--weights", "none", "--warmup-epochs", "0", "--freeze-backbone-epochs", "0"),
    *("--batch-size", "32", "--data-workers", "0", "--device", "cpu", "--pruner", "none"),
]
MODEL, QUICK_MODEL = (
    ["--model", "convnextv2_atto", "--img-size", "64"],
    ["--model", "timm:test_convnext2", "--img-size", "32"],
)
QUICK = {"trials": 2, "per_class": 6, "model": QUICK_MODEL}


def sweep(
    folder: Path, epochs: int, trials: int, workers: int, model: list[str]
) -> tuple[float, list[float], list[float]]:
    """Run `flowerml sweep` with trials of `epochs` epochs on the pictures in `folder / "flowers"`.

    Returns:
        Seconds from the command to its first trial, of each trial but a worker's first, and, with one worker, from each
        trial's end to the next one's start.
    """
    storage, study = f"sqlite:///{folder / 'sweeps.db'}", f"e{epochs}"
    command = [
        *(sys.executable, "-m", "flowerml.cli.main", "sweep", "-q", *model, *SMALL),
        *("--train-dir", str(folder / "flowers"), "--runs-root", str(folder / "runs"), "--epochs", str(epochs)),
        *("--trials", str(trials), "--workers", str(workers), "--storage", storage, "--study", study),
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "PYTHONPATH": str(ROOT)}
    started = time.time()
    subprocess.run(command, env=environment, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    finished = list(requested_trials(optuna.load_study(study_name=study, storage=storage).trials).values())
    spans = [(trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()) for trial in finished]
    gaps = [after[0] - before[1] for before, after in pairwise(spans)] if workers == 1 else []
    return spans[0][0] - started, [end - start for start, end in spans[workers:]], gaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    parser.set_defaults(per_class=40, model=MODEL)
    args = parse_arguments(parser, QUICK)
    if args.trials <= args.workers:
        parser.error("--trials: more than --workers, as a worker's first trial does not count")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_flowers(folder / "flowers", per_class=args.per_class, size=96, seed=3)
        start, short, gaps = sweep(folder, 1, args.trials, args.workers, args.model)
        _, long, _ = sweep(folder, 3, args.trials, args.workers, args.model)
    one, three = statistics.median(short), statistics.median(long)
    epoch = (three - one) / 2
    rows = {"from the command to the first trial": start, "a trial of one epoch": one}
    rows |= {"an epoch": epoch, "fixed part of a trial": one - epoch}
    if gaps:
        rows["from a trial to the next"] = statistics.median(gaps)
    pictures = 5 * args.per_class
    title = f"{args.trials} trials of {pictures} pictures at {args.model[-1]} px, {args.workers} worker(s)"
    table = Table("seconds", "", title=title)
    for label, seconds in rows.items():
        table.add_row(label, f"{seconds:.2f}")
    print_table(table, 5 if args.workers == 1 else 4, [start, one, three, *gaps], [epoch, one - epoch])


if __name__ == "__main__":
    main()
