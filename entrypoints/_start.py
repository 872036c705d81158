"""Shared start of all entry points: check the interpreter, find the package, run one command, exit with its code."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A sample of requirements.lock. Looking for a package does not import it.
NEEDED = ("pydantic", "numpy", "PIL", "sklearn", "torch", "torchvision", "timm", "open_clip", "mlflow")


def command(name: str) -> None:
    """Run `flowerml NAME` with this process's flags and exit."""
    sys.path[0] = str(ROOT)  # instead of entrypoints/, whose file names must not shadow other modules
    if missing := ", ".join(package for package in NEEDED if find_spec(package) is None):
        print(
            f"error: {sys.executable} has no {missing}: this is not the project's Python. {_remedy()}", file=sys.stderr
        )
        sys.exit(2)
    from flowerml.cli.main import main_process

    main_process([name, *sys.argv[1:]])


def _remedy() -> str:
    # `mlflow run --env-manager=local` starts the first python on PATH, whichever `mlflow` was called.
    first = "P" if (ROOT / ".venv" / "bin" / "python").exists() else "Run `make setup`, then p"
    path = f'{first}ut the project\'s environment first on PATH: export PATH="{ROOT}/.venv/bin:$PATH".'
    return f"{path} Or let MLflow make one: mlflow run --env-manager=uv"
