"""What runs got right picture by picture, from their `predictions.csv` on the tracking server."""

import csv
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flowerml.errors import UserError
from flowerml.selection.records import PictureResults
from flowerml.tracking.client.errors import short_reason

_FILE = "predictions.csv"
_AT_ONCE = 4  # with a server over http the downloads wait for each other's answers


def fetch_predictions(artifacts: Mapping[str, str]) -> dict[str, PictureResults | str]:
    """By run_id what each run got right; or why that is not known, in words. `artifacts`: by run_id, the address of the
    run's files.

    Not by `MlflowClient.download_artifacts`, which asks for each whole run again first, nor by `mlflow.artifacts`, half
    a second of import.
    """
    with _no_bars(), tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda item: _fetch(item[1], Path(scratch) / item[0]), artifacts.items())
        return dict(zip(artifacts, answers, strict=True))


def _fetch(address: str, folder: Path) -> PictureResults | str:
    folder.mkdir()
    try:
        path = get_artifact_repository(address).download_artifacts(_FILE, str(folder))
        with Path(path).open(encoding="utf-8", newline="") as handle:
            return _read(handle)
    except (MlflowException, OSError) as error:
        return f"no {_FILE}" if _is_absent(error) else f"{_FILE} can't be had ({short_reason(error)})"
    except (ValueError, csv.Error, UserError) as error:  # half a file, or somebody else's
        return f"{_FILE} can't be used ({short_reason(error)})"


def _is_absent(error: Exception) -> bool:
    """Whether the answer is that there is no such file: each kind of artifact store has its own words."""
    return isinstance(error, FileNotFoundError) or any(
        words in str(error) for words in ("No such artifact", "No such file", "404")
    )


def _read(lines: Iterator[str]) -> PictureResults:
    rows = csv.DictReader(lines)
    missing = {"image", "label", "predicted"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"no column {sorted(missing)[0]}")
    read = [(row["image"], row["label"], row["predicted"]) for row in rows]
    if any(value is None for row in read for value in row):
        raise ValueError("a row is cut off")
    return PictureResults.from_columns(*([row[place] for row in read] for place in range(3)))


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without MLflow's progress bars, one for each file, each of which is there in a moment."""
    before = MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get_raw()
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    try:
        yield
    finally:
        if before is None:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.unset()
        else:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(before)
