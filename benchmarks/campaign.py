"""The fixed cost of a run, everything but its training: as a command of its own, and as a fork in a campaign.

    python benchmarks/campaign.py [--runs 5]

Each run trains a very small network for two epochs on 60 generated pictures. "Training" is the time of the training
steps of its epochs, from the run's `history.csv`; the rest is fixed: imports, reading pictures, building the model,
starting the MLflow run, figures, files, waiting for the delivery to MLflow. CPU seconds are those of all processes
together, which a busy machine changes little.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from support.harness import parse_arguments, print_table

if TYPE_CHECKING:
    from flowerml.forkserver.client import ForkClient

SETTINGS = {
    "model": "timm:test_convnext2.r160_in1k",
    "weights": "none",
    "img_size": "32",
    "epochs": "2",
    "warmup_epochs": "0",
    "freeze_backbone_epochs": "0",
    "batch_size": "16",
    "workers": "0",
    "device": "cpu",
}


QUICK = {"runs": 1}
Row = tuple[float, float, float]  # seconds: wall clock, CPU, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    args = parse_arguments(parser, QUICK)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.environ["FLOWERML_CACHE_DIR"] = f"{scratch}/cache"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from flowerml.data.synthetic.flowers import make_flowers
        from flowerml.tracking.search.campaigns import unreachable_reason

        make_flowers(Path("data"), per_class=12, size=48, seed=3)
        unreachable_reason()  # creates the store
        time.sleep(4)  # the scan cache keeps only pictures older than 3 s
        commands = [_run_command(number) for number in range(args.runs)]
        ready, forks = _run_forks(args.runs)
    table = Table("", "wall s", "CPU s", title=f"a run, medians of {args.runs}")
    measured, derived = [ready], []
    for name, rows in (("flowerml train, a command each", commands), ("fork in a campaign", forks)):
        wall, cpu, training = (sorted(values)[len(values) // 2] for values in zip(*rows, strict=True))
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}")
        table.add_row(f"  without the training ({training:.2f} s)", f"{wall - training:.2f}", f"{cpu - training:.2f}")
        measured += [wall, cpu, training]
        derived += [wall - training, cpu - training]
    table.add_row("once: imports of all forks", f"{ready:.2f}", "")
    print_table(table, 5, measured, derived)


def _run_command(number: int) -> Row:
    flags = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    output = f"command{number}"
    command = [
        sys.executable,
        "-m",
        "flowerml.cli.main",
        "train",
        "-q",
        "--train-dir",
        "data",
        "--output-dir",
        output,
        *flags,
    ]
    before, started = _children_cpu_seconds(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started, _children_cpu_seconds() - before, _training_seconds(Path(output))


def _run_forks(runs: int) -> tuple[float, list[Row]]:
    """Seconds until the fork server is ready, and a row per run."""
    from flowerml.campaign.execution.job import RUN_JOB, JobKind, RunJob
    from flowerml.forkserver.client import ForkClient
    from flowerml.forkserver.job import Job
    from flowerml.settings import resolve

    started = time.monotonic()
    forking = ForkClient(RUN_JOB)
    forking.wait_ready()
    ready = time.monotonic() - started
    rows = []
    for number in range(runs):
        settings, _ = resolve({**SETTINGS, "train_dir": "data", "output_dir": f"fork{number}"})
        before, started = _fork_cpu_seconds(forking), time.monotonic()
        run = RunJob(str(number), JobKind.TRAIN, settings.model_dump(mode="json"), {}, "fork.log")
        forking.start(Job(run.name, RUN_JOB, (run,), run.log))
        while not (ended := forking.poll(60)):
            pass
        assert ended[0].exit_code == 0, ended
        seconds = time.monotonic() - started
        rows.append((seconds, _fork_cpu_seconds(forking) - before, _training_seconds(Path(f"fork{number}"))))
    forking.close(30)
    return ready, rows


def _training_seconds(folder: Path) -> float:
    """Seconds in the training epochs: 48 pictures (the training side of the split) by the rates in `history.csv`."""
    lines = (folder / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("images_per_second")
    return sum(48 / float(line.split(",")[column]) for line in lines[1:])


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _fork_cpu_seconds(forking: "ForkClient") -> float:
    """CPU seconds of the fork server's children that have ended."""
    import psutil

    times = psutil.Process(forking.pid).cpu_times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
