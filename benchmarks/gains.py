"""What finished runs give beyond the best of them: soup, WiSE-FT, test-time flip, temperature, ensemble, in one table.

    python benchmarks/gains.py --cnn runs/B* --vit runs/D* --cnn-probe runs/PROBE

The runs of a family are configurations and seeds of one model on one split (nothing is trained). Every gain is paired,
photo by photo, with a 95 % interval: what is chosen (the ingredients of a soup, the point between two runs, the weights
of an ensemble) is chosen on one half of the validation photos and judged on the other; the flip, which chooses nothing,
is judged on all. A temperature is fitted on one half and judged on the other, 20 times, by the loss. `--cnn-probe` is a
linear probe with the same starting weights and split as the CNN's runs, the start of WiSE-FT's line. `--no-flip` leaves
out what takes longest: two passes of every validation photo through each family's best run.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from calibration import predictions_of, row_of
from rich.table import Table
from support.harness import parse_arguments, print_table

from flowerml.cli.main import main as flowerml
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.evaluation.metrics import compute_metrics
from flowerml.evaluation.paired_gain import PairedGain
from flowerml.events import MemoryRecorder
from flowerml.prediction.ensemble_weight import choose_weight
from flowerml.runs.evaluate import Request as Evaluate
from flowerml.runs.evaluate import run_evaluation
from flowerml.runs.soup.evaluator import Request
from flowerml.runs.soup.greedy import combine_runs
from flowerml.runs.soup.interpolate import interpolate_runs

QUICK: dict[str, object] = {"cnn": [], "vit": []}  # of its own
_TINY = "--weights none --epochs 1 --warmup-epochs 0 --workers 0 --val-split 0.8 --quiet --cutmix 0 --mixup 0"
QUICK_RUNS = {
    "cnn-1": f"--model timm:test_convnext2 --img-size 32 --freeze-backbone-epochs 0 {_TINY}",
    "cnn-2": f"--model timm:test_convnext2 --img-size 32 --freeze-backbone-epochs 0 --lr-head 3e-3 {_TINY}",
    "probe": f"--model timm:test_convnext2 --img-size 32 --probe {_TINY}",
    "vit-1": f"--model timm:test_vit --img-size 160 --freeze-backbone-epochs 0 {_TINY}",
}

Row = tuple[str, ...]


def best_of(runs: list[Path]) -> Path:
    """The run with the highest validation accuracy; among equals the first."""
    return max(runs, key=lambda folder: compute_metrics(predictions_of(folder)).hits)


def accuracy_row(family: str, what: str, gain: PairedGain, seconds: float) -> Row:
    """A row about accuracy."""
    low, high = gain.interval.low, gain.interval.high
    return (
        *(family, what, str(gain.pictures), f"{gain.before:.4f}", f"{gain.after:.4f}"),
        *(f"{gain.gain:+.4f} ({low:+.4f} to {high:+.4f})", "yes" if gain.shown else "no", f"{seconds:.0f}"),
    )


class Gains:
    """The rows of the table, and how long each took."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: list[Row] = []
        self.seconds: list[float] = []

    def add(self, family: str, measure: Callable[[Path], tuple[str, PairedGain]]) -> None:
        """A row about accuracy. `measure` may write to the folder it is given."""
        started = time.perf_counter()
        what, gain = measure(self._folder / str(len(self.rows)))
        self.seconds.append(time.perf_counter() - started)
        self.rows.append(accuracy_row(family, what, gain, self.seconds[-1]))

    def add_temperature(self, family: str, run: Path) -> None:
        """A row about the loss."""
        predictions = predictions_of(run)
        _, figures, (gain, low, high) = row_of(run.name, predictions, [predictions])
        before, after, *_, temperature, seconds = figures
        self.seconds.append(seconds)
        self.rows.append(
            (
                *(family, f"temperature {temperature:.2f} (loss)", str(len(predictions.ids))),
                *(f"{before:.4f}", f"{after:.4f}", f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"),
                *("yes" if high < 0 or low > 0 else "no", f"{seconds:.0f}"),
            )
        )


def soup(runs: list[Path], folder: Path) -> tuple[str, PairedGain]:
    """The greedy average of the runs over the best of them."""
    made = combine_runs(Request(tuple(runs), folder))
    return f"soup of {len(made.combined)} of {len(runs)} runs", made.judged


def between(probe: Path, tuned: Path, folder: Path) -> tuple[str, PairedGain]:
    """The best of 11 points from a linear probe to a fine-tuned run over that run."""
    made = interpolate_runs(Request((probe, tuned), folder))
    curve = " ".join(f"{accuracy:.3f}" for _, accuracy in made.curve)
    return f"WiSE-FT, alpha {made.alpha:g} (choosing half at 0 to 1: {curve})", made.judged


def flip(run: Path) -> tuple[str, PairedGain]:
    """The mean over the photo and its mirror image over the photo alone."""
    evaluation = run_evaluation(Evaluate(run / "best.pth", "val", tta="flip"), lambda *_: MemoryRecorder())
    assert evaluation.gain is not None
    return f"flip, {run.name}", evaluation.gain


def ensemble(first: Path, second: Path) -> tuple[str, PairedGain]:
    """Both runs together over the better one."""
    chosen = choose_weight(first, second)
    weights = "none is better" if 0 in chosen.weights else ", ".join(f"{weight:g}" for weight in chosen.weights)
    return f"ensemble {first.name} and {second.name}: {weights}", chosen.judged


def measure(args: argparse.Namespace, folder: Path) -> Gains:
    """All rows."""
    gains = Gains(folder)
    families: list[tuple[str, list[Path]]] = [("cnn", args.cnn), ("vit", args.vit)]
    for family, runs in families:
        best = best_of(runs)
        if len(runs) > 1:
            gains.add(family, lambda out, runs=runs: soup(runs, out))
        if family == "cnn" and args.cnn_probe:
            gains.add(family, lambda out, best=best: between(args.cnn_probe, best, out))
        if not args.no_flip:
            gains.add(family, lambda _, best=best: flip(best))
        gains.add_temperature(family, best)
    gains.add("both", lambda _: ensemble(best_of(args.vit), best_of(args.cnn)))
    return gains


def train_quick(args: argparse.Namespace, folder: Path) -> None:
    """Tiny runs of generated pictures, as the arguments."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    make_flowers(folder / "photos", per_class=30, size=64)
    for name, words in QUICK_RUNS.items():
        line = ["--train-dir", str(folder / "photos"), "--output-dir", str(folder / name), *words.split()]
        if flowerml(["train", *line]):
            raise RuntimeError(f"flowerml train {' '.join(line)} failed")
    args.cnn, args.vit, args.cnn_probe = [folder / "cnn-1", folder / "cnn-2"], [folder / "vit-1"], folder / "probe"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cnn", nargs="+", type=Path, default=[], help="folders of a CNN's finished runs")
    parser.add_argument("--vit", nargs="+", type=Path, default=[], help="folders of a ViT's finished runs")
    parser.add_argument("--cnn-probe", type=Path, help="a linear probe with the CNN's starting weights")
    parser.add_argument("--no-flip", action="store_true", help="leave the flip out")
    args = parse_arguments(parser, QUICK)
    if not (args.cnn and args.vit) and not args.quick:
        parser.error("name finished runs with --cnn and --vit, or --quick")
    for run in (*args.cnn, *args.vit, *([args.cnn_probe] if args.cnn_probe else [])):
        if not (run / "predictions.csv").is_file():
            parser.error(f"{run} has no predictions.csv: name folders of finished runs with validation photos")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not args.cnn:
            train_quick(args, folder)
        gains = measure(args, folder)
    table = Table(
        *("family", "what", "photos", "before", "after", "gain (95 % interval)", "shown", "time [s]"),
        title="gains over the best run: accuracy, and loss where it says so",
    )
    for row in gains.rows:
        table.add_row(*row)
    print_table(table, len(gains.rows), gains.seconds, width=180)


if __name__ == "__main__":
    main()
