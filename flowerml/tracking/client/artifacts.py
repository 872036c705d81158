"""Calls of the artifact store, which may be broken or hang while the tracking server works."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flowerml.tracking.client.errors import is_content_error
from flowerml.tracking.client.failures import ArtifactStoreError

UPLOAD_TIMEOUT_S = 30.0  # for the response to an upload, in addition to the estimated upload time
_BYTES_PER_S = 1e6  # of a slow connection

_Result = TypeVar("_Result")
IsLate = Callable[[float, float], bool]  # of (seconds since the call, estimated seconds of its upload)


def is_late(waited_s: float, upload_s: float) -> bool:
    """Whether a call has taken longer than the artifact store should need."""
    return waited_s > UPLOAD_TIMEOUT_S + upload_s


def estimate_upload_s(path: Path) -> float:
    """Seconds a slow connection may need for a file; 0 if there is none."""
    try:
        return path.stat().st_size / _BYTES_PER_S
    except OSError:
        return 0.0


def upload(client: MlflowClient, run: Run, path: Path, folder: str, late: IsLate = is_late) -> None:
    """Upload a file to a run's artifacts, below `folder` ("" for the top).

    Raises:
        ArtifactStoreError: the artifact store fails or hangs while the tracking store answers.
        Exception: what MLflow raises if the content is rejected, or if the tracking store does not answer either.
    """
    upload_s = estimate_upload_s(path)
    run_id = str(run.info.run_id)
    call_artifact_store(
        client,
        run,
        lambda: client.log_artifact(run_id, str(path), folder or None),
        lambda waited_s: late(waited_s, upload_s),
    )


def call_artifact_store(
    client: MlflowClient, run: Run, call: Callable[[], _Result], late: Callable[[float], bool]
) -> _Result:
    """The result of `call`, in a thread that is left behind once it is `late`. Raises as `upload`."""
    try:
        return _call_in_thread(call, late)
    except Exception as error:  # each artifact store has its own
        if is_content_error(error):
            raise
        client.get_run(run.info.run_id)  # raises its own error if the tracking store is away too
        raise ArtifactStoreError(str(run.info.artifact_uri)) from error


def _call_in_thread(call: Callable[[], _Result], late: Callable[[float], bool]) -> _Result:
    results: list[_Result] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    begun = time.monotonic()
    threading.Thread(target=run, name="mlflow-artifact", daemon=True).start()
    while not done.wait(0.1):
        if late(time.monotonic() - begun):
            raise TimeoutError("no answer in time")
    if errors:
        raise errors[0]
    return results[0]
