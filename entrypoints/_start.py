"""What every entry point does first: find the package, run one command, exit with its code."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def command(name: str) -> None:
    """Run `flowerml NAME` with this process's flags and exit."""
    sys.path[0] = str(ROOT)  # instead of entrypoints/, whose file names must never stand in for anybody's modules
    try:
        import pydantic  # noqa: F401, I001 - the first installed package that every command needs
        from flowerml.cli.main import run_command
    except ModuleNotFoundError as error:
        print(
            f"error: {sys.executable} has no {error.name}: this is not the project's Python. Run `make setup`, then put its environment "
            'first on PATH (export PATH="$PWD/.venv/bin:$PATH")',
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(run_command(name))
