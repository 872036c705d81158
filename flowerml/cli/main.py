"""`flowerml COMMAND …` and what all commands share: exit codes, and no traceback for a user's mistake."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from flowerml.errors import LeaseLost, UserError
from flowerml.log import configure_logging

COMMANDS = {
    "train": "train one model and leave everything in MLflow and a folder",
    "eval": "evaluate a checkpoint on its own split or on another folder",
    "campaign": "carry out a plan of runs from smoke tests to delivered models; started again, it goes on",
    "compare": "two finished campaigns side by side, and what was predicted of the second",
    "sweep": "search for good settings of one model, every trial a run",
    "select": "rank finished runs over their seeds, say how sure the choice is, register the champion",
    "export": "write the registered models' weights and the one file that loads them",
    "predict": "name the class of every picture in a folder",
    "sync": "bring to MLflow what runs have kept while it was away",
    "reap": "close runs whose process is gone",
    "dataset": "make a generated flower set, check a folder, or fetch public photos",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 well, 1 a run failed, 2 wrong input, 130 stopped by hand."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: flowerml COMMAND [--help] ...\n")
        print("\n".join(f"  {name:<9} {about}" for name, about in COMMANDS.items()))
        return 0 if words else 2
    if words[0] == "--version":
        from flowerml import __version__

        print(__version__)
        return 0
    return run_command(words[0], words[1:])


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run `name` with its flags (default: the process's) and turn what went wrong into a line and an exit code."""
    from flowerml.settings.errors import nearest

    configure_logging()

    try:
        if name not in COMMANDS:
            raise UserError(
                f"command {name!r} is unknown.{nearest(name, tuple(COMMANDS))} Allowed: {', '.join(COMMANDS)}"
            )
        command: Callable[[Sequence[str] | None], int] = import_module(f"flowerml.cli.commands.{name}").run
        return command(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if os.environ.get("MLFLOW_RUN_ID") and not isinstance(error, LeaseLost):  # then the run is another process's
            from flowerml.tracking import note_failure  # seconds of import, so only where `mlflow run` has opened a run

            note_failure(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
