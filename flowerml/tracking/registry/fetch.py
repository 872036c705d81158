"""Download a registered version: its weights file, and artifacts of the run it was made from."""

import json
from dataclasses import dataclass
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.prediction.delivered import REGISTERED_WEIGHTS
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.registry.alias import version_by_alias
from flowerml.tracking.registry.register import REGISTERED


@dataclass(frozen=True)
class FetchedVersion:
    """A registered version: its weights file, and `probe.npz`, `predictions.csv` and training folder of its source run.

    The latter three are None if the run does not have them.
    """

    name: str
    version: str
    run_id: str
    weights: Path
    probe: Path | None
    predictions: Path | None
    train_dir: Path | None


def fetch_registered(family: str, into: Path, *, alias: str = "champion", version: str | None = None) -> FetchedVersion:
    """Download a family's version (by number, else by alias) into the folder `into`.

    Raises:
        UserError: no such model, version or alias, or its files are gone.
    """
    try:
        return _fetch_version(connect(), family, into, alias, version)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def registered_families(alias: str = "champion") -> list[str]:
    """The families whose registered model has a version with this alias, in the order of REGISTERED.

    Raises:
        UserError: the store can't be reached, or refuses.
    """
    try:
        client = connect()
        return [family for family, name in REGISTERED.items() if version_by_alias(client, name, alias) is not None]
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _fetch_version(client: MlflowClient, family: str, into: Path, alias: str, version: str | None) -> FetchedVersion:
    name = REGISTERED[family]
    try:
        found = client.get_model_version(name, version) if version else client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        what = f"version {version}" if version else f"version with alias {alias}"
        raise UserError(
            f"{name} has no {what}: register one with `flowerml select --family {family} --register`, or export a run:"
            " --checkpoint PATH"
        ) from error
    run_id = found.tags.get("flowerml.source_run") or found.run_id or ""
    try:
        folder = Path(download_artifacts(artifact_uri=f"models:/{name}/{found.version}", dst_path=str(into / "model")))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{name}, version {found.version}: its files can't be had ({short_reason(error)}): register the run again"
        ) from error
    weights = folder / "data" / REGISTERED_WEIGHTS[family]
    if not weights.is_file():
        raise UserError(
            f"{name}, version {found.version} holds no {weights.name}: it was not registered by flowerml; name another"
            " version"
        )
    settings = _download_artifact(client, run_id, "settings.json", into)
    return FetchedVersion(
        name=name,
        version=str(found.version),
        run_id=run_id,
        weights=weights,
        probe=_download_artifact(client, run_id, "probe.npz", into),
        predictions=_download_artifact(client, run_id, "predictions.csv", into),
        train_dir=Path(json.loads(settings.read_text("utf-8"))["settings"]["train_dir"]) if settings else None,
    )


def _download_artifact(client: MlflowClient, run_id: str, name: str, into: Path) -> Path | None:
    """Download an artifact of the run; None if it has none of that name, or was deleted."""
    folder = into / "run"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not any(file.path == name for file in client.list_artifacts(run_id)):
            return None
        return Path(client.download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError):
        return None
