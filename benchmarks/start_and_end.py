"""Seconds around a training: to its first step, from FINISHED to the exit, and what `mlflow run` adds.

    python benchmarks/start_and_end.py [--photos FOLDER] [--count 3881]

Without `--photos` (a folder with one sub-folder of pictures per class) the pictures are generated. The model is tiny:
what surrounds the steps is measured. The first step is over when its checkpoint is on the disk. Beside them stand what
no command can go below: imports of torch, torchvision and timm, and `mlflow run` of a project whose command does
nothing. Each round takes all in turns, after one that fills the caches.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from rich.table import Table
from support.harness import logger, parse_arguments, print_table
from support.photos import copy_photos

from flowerml.data.synthetic.flowers import CLASSES, make_flowers

ROOT = Path(__file__).resolve().parents[1]
ADDED = "mlflow run -e train adds to flowerml train"
QUICK = {"count": 40, "rounds": 1, "photo_size": 96}
SETTINGS = {
    "model": "timm:test_convnext2",
    "weights": "none",
    "img_size": 64,
    "epochs": 1,
    "warmup_epochs": 0,
    "freeze_backbone_epochs": 0,
    "device": "cpu",
    "workers": 1,
    "checkpoint_every_steps": 1,
}


class Bench:
    """Runs commands in `folder`, which has a store of its own."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder, self.photos = folder, photos
        self.environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
        self.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._outputs = 0

    def output(self) -> Path:
        """A new folder for a run."""
        self._outputs += 1
        return self.folder / f"run-{self._outputs}"

    def seconds(self, *command: str) -> float:
        """How long a command takes. Raises CalledProcessError."""
        started = time.perf_counter()
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True)
        return time.perf_counter() - started

    def train(self) -> tuple[float, float, float]:
        """Seconds of `flowerml train`: to the end of its first step, in all, and from FINISHED to the exit."""
        output = self.output()
        words = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "flowerml.cli.main", "train", *words]
        command += ["--train-dir", str(self.photos), "--output-dir", str(output)]
        started, first_step = time.perf_counter(), [0.0]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

        def watch() -> None:
            while process.poll() is None and not list(output.glob("state/*/manifest.json")):
                time.sleep(0.005)
            first_step[0] = time.perf_counter() - started

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert process.stdout is not None
        lines, finished = [], 0.0
        for line in process.stdout:
            lines.append(line)
            if "is FINISHED" in line:
                finished = time.perf_counter()
        code, ended = process.wait(), time.perf_counter()
        watcher.join()
        if code or not finished:
            raise RuntimeError(f"{' '.join(command)}: exit code {code}\n{''.join(lines[-20:])}")
        return first_step[0], ended - started, ended - finished

    def mlflow_run(self, project: Path, *words: str) -> float:
        """Seconds of `mlflow run` of a project."""
        return self.seconds("mlflow", "run", str(project), "--env-manager=local", *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class")
    parser.add_argument("--count", type=int, default=3881, help="pictures (default: 3881)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all rows (default: 5)")
    parser.set_defaults(photo_size=240)
    args = parse_arguments(parser, QUICK)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = args.photos
        if root is None:
            root = folder / "generated"
            make_flowers(root, per_class=max(2, args.count // len(CLASSES)), size=args.photo_size)
        bench = Bench(folder, copy_photos(root, folder, args.count)[0])
        empty = folder / "empty"
        empty.mkdir()
        (empty / "MLproject").write_text('name: empty\nentry_points:\n  main:\n    command: "true"\n')
        rows: dict[str, list[float]] = {}
        for number in range(args.rounds + (args.rounds > 1)):
            measured = measure(bench, empty)
            logger.info(f"round {number}: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in measured.items())}")
            for name, seconds in measured.items():
                rows.setdefault(name, []).append(seconds)
    rows = {name: values[-args.rounds :] for name, values in rows.items()}
    table = Table("", "seconds", "range", title=f"around a training of {args.count:,} pictures, {args.rounds} rounds")
    for name, values in rows.items():
        table.add_row(name, f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}")
    differences = rows.pop(ADDED)
    print_table(table, len(rows) + 1, [value for values in rows.values() for value in values], differences)


def measure(bench: Bench, empty: Path) -> dict[str, float]:
    """One round: seconds by what they are of."""
    imports = bench.seconds(sys.executable, "-c", "import torch, torchvision, timm")
    first_step, whole, end = bench.train()
    nothing = bench.mlflow_run(empty)
    values = {**SETTINGS, "train_dir": bench.photos, "output_dir": bench.output()}
    launched = bench.mlflow_run(
        ROOT, "-e", "train", *(word for item in values.items() for word in ("-P", "=".join(map(str, item))))
    )
    return {
        "import torch, torchvision, timm": imports,
        "flowerml train, to the end of its first step": first_step,
        "flowerml train, from FINISHED to the exit": end,
        "flowerml train": whole,
        "mlflow run -e train": launched,
        "mlflow run of an empty project": nothing,
        ADDED: launched - whole,
    }


if __name__ == "__main__":
    main()
