"""Why a run has no per-picture results: the file is not there, or its store can't be asked."""

import pytest
from mlflow.exceptions import MlflowException

from flowerml.tracking.search import predictions

ADDRESS = "mlflow-artifacts:/0/1404b404ff/artifacts"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (f"No such artifact: '{ADDRESS}/predictions.csv'", "no predictions.csv"),
        ("404 Client Error: NOT FOUND for url: http://127.0.0.1:5000/api", "no predictions.csv"),
        ("API request to endpoint /api failed with error code 404 != 200", "no predictions.csv"),
        ("the tracking URI must be http, and is postgresql://127.0.0.1:40404/mlflow", "predictions.csv can't be had"),
        (f"no answer for {ADDRESS}", "predictions.csv can't be had"),
    ],
)
def test_a_404_in_an_address_is_no_missing_file(monkeypatch, words, reason):
    class Repository:
        def download_artifacts(self, _name, _folder):
            raise MlflowException(words)

    monkeypatch.setattr(predictions, "get_artifact_repository", lambda _address: Repository())
    (result,) = predictions.fetch_predictions({"1404b404ff": ADDRESS}).values()
    assert str(result).startswith(reason)
