"""A campaign of many runs: whether its runner grows, what it holds open, how large MLflow's store becomes; its start.

    python benchmarks/long_campaign.py [--runs 200] [--restarts 3] [--store-runs 10000] [--rounds 5]

Each run trains a very small network for one epoch on 60 generated pictures. After every run the memory (RSS), open
files and threads of the runner, the process of `flowerml campaign`, are read. Restarts, by SIGTERM after equal shares
of the runs, stop the run at work with a checkpoint, and the same command goes on. The slope is that of memory over
time within the processes, without the first runs of each, in which caches fill.

The start is the time from the command to its first run's folder, in an empty store and in one with `--store-runs`
finished runs, a twentieth of them in the campaign's own experiment; both in each round.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from rich.table import Table
from support.harness import logger, parse_arguments, print_table

QUICK = {"runs": 6, "restarts": 1, "store_runs": 100, "rounds": 1}
WARM_UP = 5  # runs of each process that do not count
PLAN = """\
plan: long
about: Many runs of a very small network
grid: none
defaults: {{weights: none, img_size: 32, epochs: 1, warmup_epochs: 0, freeze_backbone_epochs: 0, batch_size: 16,
  mixup: 0, cutmix: 0, randaugment: 0, random_erasing: 0, workers: 0, device: cpu}}
families:
  cnn: {{model: "timm:test_convnext2"}}
phases:
  B:
    family: cnn
    runs:
{runs}
budget: {{runs: {count}}}
"""


@dataclass(frozen=True)
class Sample:
    """What the runner has once a run has ended: seconds since its start, MB, open files, threads."""

    seconds: float
    memory: float
    files: int
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--store-runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parse_arguments(parser, QUICK)
    names = [f"B{number:04d}" for number in range(args.runs)]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.environ["FLOWERML_CACHE_DIR"] = f"{scratch}/cache"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from flowerml.data.synthetic.flowers import make_flowers
        from flowerml.tracking import create_experiment

        make_flowers(Path("data"), per_class=12, size=48, seed=3)
        create_experiment("flowers", Path("artifacts"))
        runs = "\n".join(f"      {name}: {{lr_head: {1e-3 + 1e-6 * place}}}" for place, name in enumerate(names))
        Path("plan.yaml").write_text(PLAN.format(runs=runs, count=args.runs))
        empty = store_bytes()
        started = time.monotonic()
        share = -(-args.runs // (args.restarts + 1))
        processes = [run_until(names, min(args.runs, share * (part + 1))) for part in range(args.restarts + 1)]
        seconds = time.monotonic() - started
        size, files = store_bytes() - empty, folder_bytes(Path("artifacts"))
        starts = time_starts(names[0], args.store_runs, args.rounds)
    samples = [sample for process in processes for sample in process]
    table = Table("", "", title=f"a campaign of {args.runs} runs, its runner started {len(processes)} times")
    rows = {
        "seconds a run, with its share of all else": f"{seconds / args.runs:.2f}",
        "memory of the runner, MB": f"{in_range([sample.memory for sample in samples])}",
        "slope of its memory, MB an hour": f"{slope(processes):.1f}",
        "its open files": in_range([sample.files for sample in samples]),
        "its threads": in_range([sample.threads for sample in samples]),
        "MLflow's database, KB a run": f"{size / args.runs / 1e3:.0f}",
        "MLflow's files, KB a run": f"{files / args.runs / 1e3:.0f}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    measured = [seconds, size, files, *(sample.memory for sample in samples)]
    print_table(table, len(rows), measured, [slope(processes)], width=100)
    table = Table("MLflow's store", "seconds: median (range)", title="start of a campaign, to its first run's folder")
    for name, seconds in starts.items():
        table.add_row(name, f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})")
    print_table(table, len(starts), [value for seconds in starts.values() for value in seconds])


def run_until(names: Sequence[str], count: int) -> list[Sample]:
    """Start the campaign, and stop it once `count` of its runs are finished; the samples of those that it has ended.

    Raises:
        RuntimeError: it ended otherwise.
    """
    words = ["campaign", "--plan", "plan.yaml", "--train-dir", "data", "--output-dir", "delivery"]
    before = finished(names, 0)
    with Path("log").open("a") as log:
        command = [sys.executable, "-m", "flowerml.cli.main", *words]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started, samples, done = time.monotonic(), [], before
    runner = psutil.Process(process.pid)
    while process.poll() is None and done < count:
        time.sleep(0.1)
        if (now := finished(names, done)) > done and process.poll() is None:
            done = now
            with runner.oneshot():
                memory, threads = runner.memory_info().rss / 1e6, runner.num_threads()
            samples.append(Sample(time.monotonic() - started, memory, runner.num_fds(), threads))
    if count < len(names):
        process.send_signal(signal.SIGTERM)
    code = process.wait(600)
    if code != (130 if count < len(names) else 0):
        raise RuntimeError(f"the campaign ended with {code}:\n{Path('log').read_text()[-4000:]}")
    logger.info(f"{count} of {len(names)} runs in {time.monotonic() - started:.0f} s")
    return samples


def time_starts(first: str, store_runs: int, rounds: int) -> dict[str, list[float]]:
    """Seconds from the command to the folder of its run `first`, by store, in turns."""
    from support.filled_store import fill

    here = Path.cwd()
    stores = {"empty": 0, f"{store_runs:,} finished runs": store_runs}
    for number, runs in enumerate(stores.values()):
        fill(f"sqlite:///{here}/store{number}.db", runs, here / f"filled{number}", "flowers")
    seconds: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(rounds):
        for number, name in enumerate(stores):
            root = Path(f"started{number}-{turn}")
            command = [
                sys.executable,
                "-m",
                "flowerml.cli.main",
                "campaign",
                "--plan",
                "plan.yaml",
                "--train-dir",
                "data",
            ]
            command += ["--runs-root", str(root), "--name", root.name]
            environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{here}/store{number}.db"}
            begun = time.monotonic()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
            )
            while process.poll() is None and not (root / first).exists():
                time.sleep(0.02)
            seconds[name].append(time.monotonic() - begun)
            process.send_signal(signal.SIGTERM)
            if (code := process.wait(600)) not in (0, 130):
                raise RuntimeError(f"the campaign ended with {code}")
    return seconds


def finished(names: Sequence[str], done: int) -> int:
    """How many of the runs, which run one after the other, are finished; `done` are known to be."""
    while done < len(names):
        file = Path("runs") / names[done] / "run.json"
        if not file.is_file() or '"FINISHED"' not in file.read_text():
            break
        done += 1
    return done


def slope(processes: Sequence[Sequence[Sample]]) -> float:
    """MB an hour: the line through each process's samples that fits all of them best, with one slope."""
    above = below = 0.0
    for samples in processes:
        steady = samples[WARM_UP:] if len(samples) > 2 * WARM_UP else samples
        if not steady:
            continue
        middle = sum(sample.seconds for sample in steady) / len(steady)
        height = sum(sample.memory for sample in steady) / len(steady)
        above += sum((sample.seconds - middle) * (sample.memory - height) for sample in steady)
        below += sum((sample.seconds - middle) ** 2 for sample in steady)
    return 3600 * above / below if below else 0.0


def in_range(values: Sequence[float]) -> str:
    """Median, and range."""
    return f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def store_bytes() -> int:
    """Bytes of MLflow's database."""
    return sum(path.stat().st_size for path in Path().glob("mlflow.db*"))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
