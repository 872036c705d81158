"""Where a tracking server keeps the artifacts."""

from pathlib import Path
from urllib.parse import urlsplit

from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

from flowerml.errors import UserError
from flowerml.files import check_writable

_NOT_STORAGE = ("http", "https", "mlflow-artifacts", "runs", "models")  # they name what a server has stored already


def checked_destination(place: str) -> str:
    """The destination as given: MLflow itself looks at it only when the first artifact arrives.

    Raises:
        UserError: it is an address of a kind that MLflow does not store at, or a folder that can't be written to.
    """
    scheme = urlsplit(place).scheme if "://" in place else ""
    if not place.strip() or scheme in _NOT_STORAGE or scheme not in get_registered_artifact_repositories():
        raise UserError(
            f"--artifacts is {place!r}. Allowed: a folder, or a bucket that MLflow stores in, such as s3://…"
        )
    if not scheme:
        check_writable(Path(place) / "…")
    return place
