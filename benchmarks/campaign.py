"""What a run costs beside its training: as a command of its own, and as a fork in a campaign.

    python benchmarks/campaign.py [--runs 5]

Each run trains a very small network for two epochs on 60 generated pictures. "Training" is the time in the steps of the
epochs and in their evaluations, as the run's own log has it; everything else is fixed: imports, reading pictures,
building the model, opening the MLflow run, figures, files, waiting for what is delivered. CPU seconds are of all
processes together, so that a busy machine changes them little.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.environ["FLOWERML_CACHE_DIR"] = f"{scratch}/cache"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from flowerml.data.synthetic.flowers import make_flowers
        from flowerml.tracking.search.campaigns import unreachable_reason

        make_flowers(Path("data"), per_class=12, size=48, seed=3)
        unreachable_reason()  # makes the store
        time.sleep(4)  # so that the pictures are old enough to be remembered
        commands = [_command(place) for place in range(asked.runs)]
        ready, forks = _forks(asked.runs)
    print(f"\n{'':<34}{'wall s':>10}{'CPU s':>10}   (medians of {asked.runs} runs)")
    for name, rows in (("flowerml train, a command each", commands), ("fork in a campaign", forks)):
        wall, cpu, training = (sorted(values)[len(values) // 2] for values in zip(*rows, strict=True))
        print(f"{name:<34}{wall:>10.2f}{cpu:>10.2f}")
        print(
            f"{'  beside the training (' + format(training, '.2f') + ' s)':<34}{wall - training:>10.2f}{cpu - training:>10.2f}"
        )
    print(f"{'once: imports of all runs':<34}{ready:>10.2f}")


def _command(place: int) -> tuple[float, float, float]:
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    before, started = _cpu(), time.monotonic()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "flowerml.cli.main",
            "train",
            "--train-dir",
            "data",
            "--output-dir",
            f"command{place}",
            *words,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - started, _cpu() - before, _training(Path(f"command{place}"))


def _forks(runs: int) -> tuple[float, list[tuple[float, float, float]]]:
    from flowerml.campaign.execution.job import JobKind, RunJob
    from flowerml.campaign.execution.job_worker import run_job
    from flowerml.forkserver.client import ForkClient
    from flowerml.forkserver.job import Job
    from flowerml.settings import resolve

    started = time.monotonic()
    forking = ForkClient(run_job.__module__)
    forking.wait_ready()
    ready = time.monotonic() - started
    rows = []
    for place in range(runs):
        settings, _ = resolve({**SETTINGS, "train_dir": "data", "output_dir": f"fork{place}"})
        used, started = _cpu_of(forking), time.monotonic()
        run = RunJob(str(place), JobKind.TRAIN, settings.model_dump(mode="json"), {}, "fork.log")
        forking.start(Job(run.name, run_job, (run,), run.log))
        while not (ended := forking.poll(60)):
            pass
        assert ended[0].exit_code == 0, ended
        rows.append((time.monotonic() - started, _cpu_of(forking) - used, _training(Path(f"fork{place}"))))
    forking.close(30)
    return ready, rows


def _training(folder: Path) -> float:
    """Seconds in the epochs, from the run's history: pictures by their rate."""
    lines = (folder / "history.csv").read_text().splitlines()
    place = lines[0].split(",").index("images_per_second")
    return sum(48 / float(line.split(",")[place]) for line in lines[1:])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(forking: "ForkClient") -> float:
    """CPU seconds of the fork server's children that have ended."""
    import psutil

    times = psutil.Process(forking.pid).cpu_times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
