"""`make demo`: a generated flower set, a small CNN and a small CLIP tower through `mlflow run`, and a table of what came out."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from flowerml.console import duration, say

# A store, pictures and runs of its own: a demo never touches what a team has on its tracking server.
HOME = Path("demo")
STORE = f"sqlite:///{HOME}/mlflow.db"
_COMMON = {
    "weights": "none",
    "train_dir": str(HOME / "data"),
    "warmup_epochs": "1",
    "freeze_backbone_epochs": "0",
    "lr_head": "1e-3",
    "batch_size": "16",
    "label_smoothing": "0",
    "mixup": "0",
    "cutmix": "0",
    "randaugment": "0",
    "random_erasing": "0",
    "overwrite": "true",
}


@dataclass(frozen=True)
class Demo:
    """One training of the demo: family for the table, catalogue name, settings beyond the common ones."""

    family: str
    model: str
    settings: dict[str, str]


_DEMOS = (
    Demo("CNN", "convnextv2_atto", {"img_size": "96", "epochs": "12", "lr_backbone": "1e-3", "drop_path": "0"}),
    Demo("ViT", "clip_vits32", {"img_size": "128", "epochs": "8", "lr_backbone": "3e-4", "llrd": "1.0"}),
)


def main() -> int:
    """Run the demo from the project's root. Returns the exit code."""
    started = time.monotonic()
    os.environ["MLFLOW_TRACKING_URI"] = STORE
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    shutil.rmtree(HOME, ignore_errors=True)
    from flowerml.data.generate import make_flowers
    from flowerml.tracking import create_experiment

    pictures = make_flowers(HOME / "data", per_class=80, size=112)
    say(f"1. drew {len(pictures)} pictures of five flowers into {HOME / 'data'}")
    create_experiment("flowers", HOME / "artifacts")
    for place, demo in enumerate(_DEMOS, start=2):
        say(f"\n{place}. {demo.model}, with `mlflow run`:")
        code = _mlflow_run(demo)
        if code != 0:
            say(f"the run of {demo.model} ended with exit code {code}")
            return code
    _print_table()
    say(f"\ndone in {duration(time.monotonic() - started)}. Look at the runs, curves and pictures with:  make ui STORE={STORE}")
    return 0


def _mlflow_run(demo: Demo) -> int:
    settings = {"model": demo.model, **_COMMON, **demo.settings, "output_dir": str(HOME / "runs" / demo.model)}
    words = [word for name, value in settings.items() for word in ("-P", f"{name}={value}")]
    command = ["mlflow", "run", ".", "-e", "train", "--env-manager=local", "--experiment-name", "flowers", *words]
    say(f"$ {' '.join(command)}")
    # `mlflow run` starts the first `python` on PATH: it must be this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode


def _print_table() -> None:
    from rich.console import Console
    from rich.table import Table

    from flowerml.tracking import runs_of_kind

    table = Table(title="demo: two models, trained from scratch on generated pictures (chance: 0.20)")
    for name in ("family", "model", "status", "best epoch", "val accuracy", "macro-F1", "time", "folder"):
        table.add_column(name, justify="right" if name in ("best epoch", "val accuracy", "macro-F1", "time") else "left")
    for run in runs_of_kind("flowers", "train"):
        table.add_row(
            run.tags["flowerml.family"],
            run.params["model"],
            run.status,
            f"{run.metrics['best_epoch']:.0f}",
            f"{run.metrics['best_val_accuracy']:.4f}",
            f"{run.metrics['best_val_macro_f1']:.4f}",
            duration(run.seconds or 0),
            run.params["output_dir"],
        )
    Console(width=140 if not sys.stdout.isatty() else None).print(table)
    say(f"artifacts (weights, curves, confusion matrix, errors.html): {HOME / 'artifacts'}, and the same files in each run's folder")


if __name__ == "__main__":
    sys.exit(main())
