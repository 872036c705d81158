"""Addresses are shown without secrets, and reasons are short; tests/cli has what commands print of them."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.settings import resolve
from flowerml.tracking import start_run
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.client.failures import to_user_error

SHOWN = {
    "http://team:secret@host:5000/x": "http://***@host:5000/x",
    "https://secret@host": "https://***@host",
    "postgresql+psycopg2://team:se/cr@et@host/db": "postgresql+psycopg2://***@host/db",
    "postgresql://host/db?user=team&password=secret&sslmode=require": (
        "postgresql://host/db?user=team&password=***&sslmode=require"
    ),
    "GET http://team:secret@host/a failed, and http://b:secret@c/d": "GET http://***@host/a failed, and http://***@c/d",
    "http://host:5000/a@b": "http://host:5000/a@b",
    "sqlite:////srv/a@b.db": "sqlite:////srv/a@b.db",
    "mlruns": "mlruns",
}


@pytest.mark.parametrize(("address", "shown"), SHOWN.items())
def test_secrets_of_an_address_are_not_shown(address, shown):
    assert redact_secrets(address) == shown


def test_a_reason_is_short_and_has_no_password():
    long = (
        "API request to http://team:secret@host failed with exception HTTPConnectionPool(host='host'): Max retries"
        " exceeded with url: /a "
    )
    assert short_reason(MlflowException(f"{long}(Caused by X('[Errno 113] No route to host'))")) == "No route to host"
    assert short_reason(MlflowException(long)) == redact_secrets(long)[:160]
    assert (
        short_reason(OSError(2, "No such file or directory", "a.txt")) == "[Errno 2] No such file or directory: 'a.txt'"
    )
    assert short_reason(ValueError()) == "ValueError"


@pytest.mark.parametrize("error", [NameError("name 'x' is not defined"), AssertionError("no chosen run")], ids=repr)
def test_a_bug_is_not_reported_as_a_server_error(error):
    with pytest.raises(type(error)):
        to_user_error(error)


def test_an_unknown_or_deleted_mlflow_run_id_is_refused(monkeypatch, tmp_path):
    client = MlflowClient()
    deleted = client.create_run("0").info.run_id
    client.delete_run(deleted)
    settings = resolve({"classes": "a,b", "output_dir": "x", "run_name": "x"})[0]
    attempt = tmp_path / "out" / "attempts" / "0001"
    attempt.mkdir(parents=True)
    for opened in (deleted, "not a run"):
        monkeypatch.setenv("MLFLOW_RUN_ID", opened)
        with pytest.raises(
            UserError,
            match=rf"^MLFLOW_RUN_ID {opened} .*: unset it, or set MLFLOW_TRACKING_URI to the store that has it$",
        ):
            start_run(settings, "flowers", "x", attempt)
    assert client.search_runs(["0"]) == []
