"""The `mlflow run` that started this process: the folder it was called in, which is not the one the script runs in."""

import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

_SHELLS = {"bash", "sh", "dash", "zsh", "ksh", "busybox"}
_SQLITE = "sqlite:///"


def adopt_launcher_paths() -> None:
    """Under `mlflow run`, let relative paths mean what they mean where it was called. Never raises.

    A project from elsewhere (a Git address, a ZIP file) runs in a temporary copy, which is no place for outputs: then
    the whole process moves to the caller's folder. In a project's own folder a line says what paths are relative to.
    The path of a SQLite store is the caller's in any case, as `mlflow run` has opened its run there.
    """
    if not os.environ.get("MLFLOW_RUN_ID"):
        return
    project, folder = Path.cwd(), _launcher_folder()
    if folder is not None:
        _resolve_store(folder)
    if not _is_temporary_copy(project):
        if folder is not None and folder != project and (project / "MLproject").is_file():
            logger.info(
                f"relative paths are those of {project}, where `mlflow run` starts the project; from {folder} name"
                " whole paths (-P output_dir=/…, -P train_dir=/…)"
            )
        return
    if folder is None or not os.access(folder, os.W_OK):
        logger.warning(
            f"`mlflow run` runs a temporary copy of the project: what has a relative path goes to {project}. Name"
            " folders by their whole path (-P output_dir=/…, -P runs_root=/…, -P train_dir=/…)"
        )
        return
    # Children find the package as this process does.
    paths = [str(project), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.chdir(folder)
    logger.info(f"relative paths are those of {folder}, where `mlflow run` was called")


def _launcher_folder() -> Path | None:
    """The working directory of the `mlflow run` above this process; None if there is none that can be told.

    It is `mlflow`, or a program in Python that has called `mlflow.projects.run`.
    """
    with suppress(psutil.Error, OSError):
        for process in psutil.Process().parents():
            if process.name() not in _SHELLS:
                words = [Path(word).name for word in process.cmdline()[:4]]
                is_python = any(word == "mlflow" or word.startswith("python") for word in words)
                return Path(process.cwd()) if is_python else None
    return None


def _resolve_store(folder: Path) -> None:
    """Make the path of a relative SQLite store absolute if its file is in the launcher's `folder`."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    name, question, options = address.removeprefix(_SQLITE).partition("?")
    if not address.startswith(_SQLITE) or not name or name.startswith(("/", ":", "file:")):
        return
    if (folder / name).is_file():
        os.environ["MLFLOW_TRACKING_URI"] = f"{_SQLITE}{folder / name}{question}{options}"


def _is_temporary_copy(project: Path) -> bool:
    """Whether `mlflow run` has fetched the project: it does so into a folder of `tempfile.mkdtemp`."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if not (project / "MLproject").is_file() or not project.resolve().is_relative_to(temporary):
        return False
    return project.resolve().relative_to(temporary).parts[:1][0].startswith(tempfile.gettempprefix())
