"""What a change of settings does to accuracy: trainings with and without it, seed by seed, on the same split.

    python benchmarks/paired_accuracy.py --photos FOLDER --change "--augment-backend opencv --cache-images auto"

For each seed `flowerml train` runs twice, in turns: as it is, and with `--change` added. `--settings` are those of
both. The table has the validation accuracy of each training, the seed's difference, and the time of each; its last row
the means, and the standard error of the mean difference.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table
from support.harness import logger, parse_arguments, print_table

from flowerml.data.synthetic.flowers import make_flowers

QUICK = {
    "seeds": 1,
    "settings": "--model timm:test_convnext2 --weights none --img-size 32 --epochs 1 --warmup-epochs 0"
    " --freeze-backbone-epochs 0 --workers 0",
}
DEFAULT_SETTINGS = "--model timm:mobilenetv2_100 --weights none --img-size 160"


def train(photos: Path, folder: Path, seed: int, settings: str) -> tuple[float, float]:
    """Validation accuracy of one training, and its seconds.

    Raises:
        RuntimeError: the training failed.
    """
    command = [sys.executable, "-m", "flowerml.cli.main", "train", "--quiet", "--json", "--seed", str(seed)]
    command += ["--train-dir", str(photos.resolve()), "--output-dir", str(folder), *shlex.split(settings)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / 'mlflow.db'}"}
    started = time.perf_counter()
    process = subprocess.run(command, check=False, cwd=folder.parent, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)}: exit code {process.returncode}\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])["val"]["accuracy"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class; else generated")
    parser.add_argument("--change", default="--augment-backend opencv --cache-images ram", help="settings that change")
    parser.add_argument("--settings", default=DEFAULT_SETTINGS, help=f"of all trainings (default: {DEFAULT_SETTINGS})")
    parser.add_argument("--seeds", type=int, default=3, help="default: 3")
    args = parse_arguments(parser, QUICK)
    rows: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = args.photos or folder / "generated"
        if args.photos is None:
            make_flowers(photos, per_class=20, size=64)
        for seed in range(args.seeds):
            before, before_s = train(photos, folder / f"{seed}-before", seed, args.settings)
            after, after_s = train(photos, folder / f"{seed}-after", seed, f"{args.settings} {args.change}")
            rows.append((before, after, before_s, after_s))
            logger.info(f"seed {seed}: {before:.4f} {after:.4f}, {before_s:.0f} s {after_s:.0f} s")
    table = Table(
        "seed",
        "accuracy",
        "with the change",
        "difference",
        "time [s]",
        "with [s]",
        title=f"with {args.change}",
    )
    for seed, (before, after, before_s, after_s) in enumerate(rows):
        table.add_row(
            str(seed), f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}", f"{before_s:.0f}", f"{after_s:.0f}"
        )
    differences = [after - before for before, after, _, _ in rows]
    error = f" ± {stdev(differences) / len(rows) ** 0.5:.4f}" if len(rows) > 1 else ""
    means = [mean(values) for values in zip(*rows, strict=True)]
    table.add_row(
        "mean",
        f"{means[0]:.4f}",
        f"{means[1]:.4f}",
        f"{mean(differences):+.4f}{error}",
        f"{means[2]:.0f}",
        f"{means[3]:.0f}",
    )
    print_table(table, len(rows) + 1, [value for row in rows for value in row], differences, width=100)


if __name__ == "__main__":
    main()
