"""A folder's `run.json` after the fact: the id of a run that MLflow heard of only later."""

from dataclasses import replace
from pathlib import Path

from flowerml.runs.lifecycle.run_file import read_run_file, write_run_file


def note_run_id(root: Path, run_id: str) -> None:
    """Write the run's id at MLflow into a folder that nobody works on, where none stands yet. Raises UserError as the
    atomic writer.
    """
    standing = read_run_file(root)
    if standing is not None and run_id and standing.run_id == "":
        write_run_file(root, replace(standing, run_id=run_id))
