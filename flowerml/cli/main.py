"""`flowerml COMMAND …`: dispatch, exit codes, and one line instead of a traceback for a user's mistake."""

import errno
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from flowerml.errors import LeaseLost, UserError
from flowerml.log import configure_logging, print_traceback
from flowerml.process.environment import COMMAND, set_process_environment
from flowerml.process.exit import release_frames, skip_teardown
from flowerml.process.garbage_collection import collect_rarely

logger = logging.getLogger(__name__)

# By the folder of their modules in commands/.
COMMAND_GROUPS = {
    "experiments": {
        "train": "train one model and leave everything in MLflow and a folder",
        "eval": "evaluate a checkpoint on its own split or on another folder",
        "campaign": "run a plan from smoke tests to delivered models; started again, it resumes",
        "compare": "compare two finished campaigns, and check predictions about the second",
        "sweep": "search hyperparameters of one model; every trial is a run",
        "select": "rank finished runs over their seeds, with intervals; register the champion",
        "combine": "average the weights of runs of one model, as far as held-out pictures gain by it",
        "robustness": "accuracy on blurred, noisy, compressed, dark, bright, rotated and squeezed photos",
    },
    "models": {
        "export": "write the registered models' weights and the single file that loads them",
        "predict": "classify every picture in a folder",
        "explain": "draw which parts of a picture raise the logit of the class it is given",
        "app": "a page to try models with one's own pictures, on this machine",
    },
    "server": {
        "ui": "show runs, champions and reports in MLflow's pages, on this machine",
        "serve": "run MLflow's tracking server for a team, with log-in",
        "backup": "back up a tracking store: database, artifacts, accounts, with digests",
        "restore": "check a backup, and restore it into an empty database and folder",
        "sync": "deliver to MLflow what runs recorded while the server was away",
        "reap": "close runs whose process is gone",
    },
    "data": {
        "dataset": "make a generated flower set, check a folder, or fetch public photos",
    },
}
COMMANDS = {name: about for commands in COMMAND_GROUPS.values() for name, about in commands.items()}

COMPLETION = "--print-completion"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 success, 1 a run failed, 2 invalid input, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: flowerml COMMAND [--help] ...\n")
        for group, commands in COMMAND_GROUPS.items():
            print("\n".join([f"{group}:", *(f"  {name:<10} {about}" for name, about in commands.items())]))
        print(f"\nflowerml {COMPLETION} bash|zsh|tcsh prints a script that completes commands and flags in a shell")
        return 0 if words else 2
    if words[0] == "--version":
        from flowerml import __version__

        print(__version__)
        return 0
    if words[0].partition("=")[0] == COMPLETION:
        return run_command(COMPLETION, [*words[0].split("=", 1)[1:], *words[1:]])
    return run_command(words[0], words[1:])


def command_module(name: str) -> str:
    """The module of a command, which has `run(argv)` and `make_parser()`."""
    (group,) = (group for group, commands in COMMAND_GROUPS.items() if name in commands)
    return f"flowerml.cli.commands.{group}.{name}"


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run the command `name` with `argv` (default: the process's), errors turned into one line and an exit code."""
    from flowerml.settings.errors import did_you_mean

    configure_logging()
    set_process_environment()  # before any import of torch
    collect_rarely()
    sys.excepthook = print_traceback
    if os.environ.get("MLFLOW_RUN_ID"):
        from flowerml.cli.launcher import adopt_launcher_paths  # psutil, which most commands don't need

        adopt_launcher_paths()

    try:
        if name not in COMMANDS and name != COMPLETION:
            raise UserError(
                f"command {name!r} is unknown.{did_you_mean(name, tuple(COMMANDS))} Allowed: {', '.join(COMMANDS)}"
            )
        os.environ[COMMAND] = f"flowerml {name}"
        module = "flowerml.cli.completion" if name == COMPLETION else command_module(name)
        command: Callable[[Sequence[str] | None], int] = import_module(module).run
        code = _call(command, argv)
        logger.debug(f"{name} ended with exit code {code} (Python {platform.python_version()})")
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        logger.debug("raised here", exc_info=error)
        if os.environ.get("MLFLOW_RUN_ID") and not isinstance(error, LeaseLost):  # then the run is another process's
            from flowerml.tracking import note_failure  # seconds of import, so only where `mlflow run` has opened a run

            note_failure(str(error))
        release_frames(error)
        return error.exit_code
    except KeyboardInterrupt as error:
        print("stopped", file=sys.stderr)
        release_frames(error)
        return 130
    except BrokenPipeError:
        return 1
    except (MemoryError, RuntimeError) as error:
        from flowerml.models.resources.memory import is_out_of_memory  # torch

        if not is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or ["MemoryError"])[0]
        print(
            f"error: memory ran out ({reason}). End what else needs memory here, or ask for less of it: a smaller"
            " --batch-size, fewer --workers, --cache-images off",
            file=sys.stderr,
        )
        logger.debug("raised here", exc_info=error)
        release_frames(error)
        return 1


def _call(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    """Run a command. Raises UserError too for a path that is too long for the system."""
    try:
        return command(argv)
    except OSError as error:
        # `Path.is_dir` and the like say False for a path that can't be there, but raise for this cause.
        if error.errno != errno.ENAMETOOLONG:
            raise
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a path"
        raise UserError(f"{where}: {error.strerror}. Give a shorter name") from error


def main_process(argv: Sequence[str] | None = None) -> NoReturn:
    """The program `flowerml`: run one command with `argv` (default: the process's) and end the process."""
    sys.exit(skip_teardown(main(argv)))


if __name__ == "__main__":
    main_process()
