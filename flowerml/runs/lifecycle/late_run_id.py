"""Add the MLflow run id to a `run.json` whose run was delivered only after it had ended."""

from dataclasses import replace
from pathlib import Path

from flowerml.runs.lifecycle.run_file import read_run_file, write_run_file


def note_run_id(root: Path, run_id: str) -> None:
    """Write the run id into the folder's `run.json` where it has none yet. Raises UserError as the atomic writer."""
    run_file = read_run_file(root)
    if run_file is not None and run_id and run_file.run_id == "":
        write_run_file(root, replace(run_file, run_id=run_id))
