"""What calibrations do for photos that did not fit them: of finished runs, on 20 random halves of validation photos.

    python benchmarks/calibration.py runs/FIRST runs/SECOND

For each run folder (its `predictions.csv` is read; nothing is trained) a temperature and conformal scores are fitted on
one half of the photos and judged on the other, 20 times. The table has means over the halves: the loss without and with
the calibration, its difference with a 95 % interval (bootstrap over photos of their mean difference), the calibration
error without and with, and how often a set for 95 % holds the true class, with the range over the halves.

With `--across` the runs are seeds of one configuration on one split, and each is judged with what the others fitted
(on the half that does not judge): so a campaign calibrates a final model that was retrained on all photos.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.special import log_softmax
from support.harness import parse_arguments, print_table

from flowerml.cli.main import main as flowerml
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.evaluation.calibration_values import prediction_sets
from flowerml.evaluation.fit_calibration import calibration_halves, fit_calibration
from flowerml.evaluation.metrics import Predictions, calibration_error, join_predictions
from flowerml.evaluation.prediction_table import read_predictions

HALVES = 20
RESAMPLES = 2_000
QUICK: dict[str, object] = {"runs": []}  # one of its own
QUICK_RUN = (
    "--model timm:test_convnext2 --weights none --img-size 32 --epochs 1 --warmup-epochs 0 --freeze-backbone-epochs 0"
    " --workers 0 --val-split 0.8 --quiet"
)


def own_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-likelihood (N,) of each photo."""
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]


def predictions_of(folder: Path) -> Predictions:
    """What a run predicted for its validation photos."""
    read = read_predictions(folder / "predictions.csv")
    if read is None:
        raise RuntimeError(f"{folder / 'predictions.csv'} is not a run's")
    return read.as_predictions()


def row_of(
    name: str, predictions: Predictions, fitting: list[Predictions]
) -> tuple[list[str], list[float], list[float]]:
    """The cells of a run, its measured figures and its differences; what `fitting` has of the same photos fits the
    calibration.
    """
    started = time.perf_counter()
    gains = np.zeros(len(predictions.labels))
    times_judged = np.zeros(len(predictions.labels))
    figures = []
    for turn in range(HALVES):
        judged = calibration_halves(predictions, turn)
        calibration = fit_calibration(join_predictions([one.part(~judged) for one in fitting]))
        other = predictions.part(judged)
        logits = other.logits.astype(np.float64)
        scaled = logits / calibration.temperature
        before, after = own_loss(logits, other.labels), own_loss(scaled, other.labels)
        gains[judged] += after - before
        times_judged[judged] += 1
        shares = np.exp(log_softmax(scaled, axis=1))
        sets = prediction_sets(shares, calibration, 0.95)
        figures.append(
            (
                before.mean(),
                after.mean(),
                calibration_error(other.probabilities, other.labels),
                calibration_error(shares, other.labels),
                np.mean([label in members for label, members in zip(other.labels, sets, strict=True)]),
                calibration.temperature,
            )
        )
    seconds = time.perf_counter() - started
    gains = gains[times_judged > 0] / times_judged[times_judged > 0]
    draw = np.random.default_rng(0)
    means = [gains[draw.integers(0, len(gains), len(gains))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    values = np.array(figures, dtype=float)
    mean, coverage = values.mean(axis=0), values[:, 4]
    cells = [
        name,
        str(len(predictions.labels)),
        f"{mean[5]:.2f}",
        f"{mean[0]:.4f}",
        f"{mean[1]:.4f}",
        f"{gains.mean():+.4f} ({low:+.4f} to {high:+.4f})",
        f"{mean[2]:.4f}",
        f"{mean[3]:.4f}",
        f"{mean[4]:.3f} ({coverage.min():.3f} to {coverage.max():.3f})",
        f"{seconds:.1f}",
    ]
    return cells, [*mean, seconds], [gains.mean(), low, high]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--across", action="store_true", help="judge each run with the calibration of the others")
    args = parse_arguments(parser, QUICK)
    for folder in args.runs:
        if not (folder / "predictions.csv").is_file():
            parser.error(f"{folder} has no predictions.csv: name folders of finished runs with validation photos")
    if args.across and len(args.runs) < 2:
        parser.error("--across: name at least two runs, seeds of one configuration")
    if not args.runs and not args.quick:
        parser.error("no run folder is given: name folders of finished runs, or --quick")
    with tempfile.TemporaryDirectory() as temporary:
        runs = list(args.runs)
        if not runs:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{temporary}/mlflow.db"
            photos = Path(temporary, "photos")
            make_flowers(photos, per_class=16, size=64)
            runs = [Path(temporary, "run")]
            words = ["--train-dir", str(photos), "--output-dir", str(runs[0]), *QUICK_RUN.split()]
            if flowerml(["train", *words]):
                raise RuntimeError(f"flowerml train {' '.join(words)} failed")
        read = [predictions_of(folder) for folder in runs]
        if args.across and any(one.ids != read[0].ids for one in read):
            parser.error("--across: the runs have not the same validation photos")
        rows = [
            row_of(folder.name, own, [one for one in read if one is not own] if args.across else [own])
            for folder, own in zip(runs, read, strict=True)
        ]
    table = Table(
        *("run", "photos", "temperature", "loss", "calibrated", "difference (95 % interval)"),
        *("calibration error", "calibrated", "coverage of sets (range)", "time [s]"),
        title=f"calibration{' by the other runs' * args.across}, judged on {HALVES} random halves",
    )
    for cells, _, _ in rows:
        table.add_row(*cells)
    print_table(table, len(rows), [v for _, values, _ in rows for v in values], [v for *_, d in rows for v in d], 160)


if __name__ == "__main__":
    main()
