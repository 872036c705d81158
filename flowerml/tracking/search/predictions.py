"""Per-picture results of runs, from their artifact `predictions.csv`."""

import csv
import re
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
from flowerml.text import CsvRows, distinct_nfc
from flowerml.tracking.client.errors import short_reason

_FILE = "predictions.csv"
# A bare 404 may stand in a port or a run's id.
_NOT_FOUND = re.compile(r"No such artifact|No such file|\b404 Client Error|error code 404\b")
_THREADS = 4  # downloads over HTTP are latency-bound


def fetch_predictions(artifacts: Mapping[str, str]) -> dict[str, PictureResults | str]:
    """Per-picture results by run id, or the reason why there are none; `artifacts` are artifact addresses by run id.

    Not with `MlflowClient.download_artifacts`, which fetches each run again, nor with `mlflow.artifacts`, whose import
    takes 0.5 s.
    """
    with _no_progress_bars(), tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda item: _download_results(item[1], Path(scratch) / item[0]), artifacts.items())
        return dict(zip(artifacts, results, strict=True))


def _download_results(address: str, folder: Path) -> PictureResults | str:
    folder.mkdir()
    try:
        path = get_artifact_repository(address).download_artifacts(_FILE, str(folder))
        with Path(path).open(encoding="utf-8", newline="") as handle:
            return _parse_results(handle)
    except (MlflowException, OSError) as error:
        return f"no {_FILE}" if _is_not_found(error) else f"{_FILE} can't be had ({short_reason(error)})"
    except (ValueError, csv.Error, UserError) as error:  # truncated, or not written by flowerml
        return f"{_FILE} can't be used ({short_reason(error)})"


def _is_not_found(error: Exception) -> bool:
    """Whether there is no such artifact: each kind of artifact store has its own message."""
    return isinstance(error, FileNotFoundError) or _NOT_FOUND.search(str(error)) is not None


def _parse_results(lines: Iterator[str]) -> PictureResults:
    rows = CsvRows(lines)
    missing = {"image", "label", "predicted"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"no column {sorted(missing)[0]}")
    values = [(row["image"], row["label"], row["predicted"]) for row in rows]
    if any(value is None for row in values for value in row):
        raise ValueError("a row is cut off")
    images = distinct_nfc([row[0] for row in values])  # earlier versions kept the form on disk
    return PictureResults.from_columns(images, *([row[column] for row in values] for column in (1, 2)))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable MLflow's progress bars, one for each small file."""
    before = MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get_raw()
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    try:
        yield
    finally:
        if before is None:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.unset()
        else:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(before)
