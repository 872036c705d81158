"""What every entry point does first: find the package, make sure of the Python, run one command, exit with its code."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# One package of each corner of requirements.lock; looking for them imports none.
NEEDED = ("pydantic", "numpy", "PIL", "sklearn", "torch", "torchvision", "timm", "open_clip", "mlflow")


def command(name: str) -> None:
    """Run `flowerml NAME` with this process's flags and exit."""
    sys.path[0] = str(ROOT)  # instead of entrypoints/, whose file names must never stand in for anybody's modules
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        print(
            f"error: {sys.executable} has no {', '.join(missing)}: this is not the project's Python. {_remedy()}",
            file=sys.stderr,
        )
        sys.exit(2)
    from flowerml.cli.main import run_command

    sys.exit(run_command(name))


def _remedy() -> str:
    """What to type: `mlflow run --env-manager=local` takes the first python on PATH, whichever `mlflow` was called."""
    first = "P" if (ROOT / ".venv" / "bin" / "python").exists() else "Run `make setup`, then p"
    return (
        f'{first}ut the project\'s environment first on PATH: export PATH="{ROOT}/.venv/bin:$PATH". '
        "Or let MLflow make one: mlflow run --env-manager=uv"
    )
