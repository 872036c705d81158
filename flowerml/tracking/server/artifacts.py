"""Where a tracking server keeps the artifacts."""

from pathlib import Path
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flowerml.errors import UserError
from flowerml.files import check_writable

_NOT_STORAGE = ("http", "https", "mlflow-artifacts", "runs", "models")  # they name what a server has stored already


def checked_destination(place: str) -> str:
    """The destination as given: MLflow itself looks at it only when the first artifact arrives.

    Raises:
        UserError: it is no address of a kind that MLflow stores at, or a folder that can't be made or written to.
    """
    scheme = urlsplit(place).scheme if "://" in place else ""
    try:
        known = bool(place.strip()) and scheme not in _NOT_STORAGE and bool(get_artifact_repository(place))
    except (MlflowException, ValueError):
        known = False
    if not known:
        raise UserError(
            f"--artifacts is {place!r}. Allowed: a folder, or a bucket that MLflow stores in, such as s3://…"
        )
    if not scheme:
        check_writable(Path(place) / "…")
    return place
