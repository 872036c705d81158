"""`make demo`: generate a flower set, run the plan `demo` through `mlflow run`, predict with the delivered files."""

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from flowerml.human_units import duration
from flowerml.log import configure_logging
from flowerml.process.environment import set_process_environment

logger = logging.getLogger(__name__)

# A store, pictures and runs of its own: a demo never touches what a team has on its tracking server.
HOME = Path("demo")
STORE = f"sqlite:///{HOME}/mlflow.db"
_PER_CLASS, _EDGE = 40, 64  # pictures of each class, their size in px
_SHOWN = 3  # pictures that are predicted at the end, by each model


def main() -> int:
    """Run the demo from the project's root. Returns the exit code."""
    configure_logging()
    started = time.monotonic()
    os.environ["MLFLOW_TRACKING_URI"] = STORE
    set_process_environment()
    shutil.rmtree(HOME, ignore_errors=True)
    from flowerml.data.synthetic.flowers import make_flowers
    from flowerml.tracking import create_experiment

    pictures = make_flowers(HOME / "data", per_class=_PER_CLASS, size=_EDGE)
    logger.info(f"1. drew {len(pictures)} pictures of five flowers into {HOME / 'data'}")
    create_experiment("flowers", HOME / "artifacts")
    logger.info("\n2. the plan `demo`: 24 runs in six phases, with `mlflow run`:")
    begun = time.monotonic()
    code = _run_campaign()
    if code != 0:
        logger.info(f"the campaign ended with exit code {code}")
        return code
    campaign = time.monotonic() - begun
    logger.info(f"\n3. what it delivered, on {_SHOWN} pictures that are none of those it was trained on:")
    _predict_fresh_pictures()
    _print_tracking_table()
    trained = _busy_seconds()
    around = (
        f"{duration(trained)} with runs at work, two at a time, {duration(campaign - trained)} between and around them"
    )
    logger.info(f"\ndone in {duration(time.monotonic() - started)}: {around}.")
    logger.info(f"Look at champions, runs, curves, decisions and the report with:  make ui STORE={STORE}")
    return 0


def _run_campaign() -> int:
    # Two runs of such small models use two cores better than one run with two threads does.
    settings = {
        "plan": "demo",
        "train_dir": HOME / "data",
        "runs_root": HOME / "runs",
        "output_dir": HOME / "delivery",
        "parallel": 2,
    }
    words = [word for name, value in settings.items() for word in ("-P", f"{name}={value}")]
    command = ["mlflow", "run", ".", "-e", "campaign", "--env-manager=local", "--experiment-name", "flowers", *words]
    logger.info(f"$ {' '.join(command)}")
    # `mlflow run` starts the first `python` on PATH: it must be this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode


def _predict_fresh_pictures() -> None:
    """Predict with the delivered files, as their recipient would."""
    from flowerml import load_cnn_model, load_vit_model, predict
    from flowerml.data.synthetic.flowers import make_flowers

    fresh = make_flowers(HOME / "fresh", per_class=1, size=_EDGE, seed=977)[:_SHOWN]
    for weights, load in (("cnn_flowers.pth", load_cnn_model), ("vit_flowers.pth", load_vit_model)):
        model = load(HOME / "delivery" / weights)
        for picture in fresh:
            logger.info(f"   {weights}: a {picture.parent.name} is a {predict(model, picture)}")


def _busy_seconds() -> float:
    """Seconds during which at least one run was active."""
    (found,) = (HOME / "runs").glob("*/campaign.json")
    runs = json.loads(found.read_text("utf-8"))["runs"].values()
    seconds, until = 0.0, 0.0
    for begun, ended in sorted((run["started"] / 1000, run["started"] / 1000 + run["seconds"]) for run in runs):
        seconds += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return seconds


def _read_tracking_table() -> list[dict[str, str]]:
    (found,) = (HOME / "runs").glob("*/table.csv")
    with found.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _print_tracking_table() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="the demo's campaign, trained from scratch on generated pictures (chance: 0.20)")
    columns = ("Run ID", "Model", "Seed", "Status", "Val Acc", "Macro-F1", "Checkpoint")
    for name in columns:
        table.add_column(name, justify="right" if name in ("Seed", "Val Acc", "Macro-F1") else "left")
    for row in _read_tracking_table():
        table.add_row(*(row[name] for name in columns))
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    sys.exit(main())
