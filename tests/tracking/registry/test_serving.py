"""`mlflow models serve` of a registered champion: the real server on loopback, with a client's requests."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flowerml.prediction.standalone import flowers_classifier
from flowerml.tracking import register
from tests.data.pictures import encode, scene
from tests.tracking.finished_runs import CLASSES, Store

pytestmark = pytest.mark.slow
SECONDS = 180


@pytest.fixture
def served_champion(tmp_path, monkeypatch):
    """(address, delivered model): a fresh store's champion, served by MLflow in an empty folder, pickle forbidden."""
    store = Store(tmp_path)
    register(store.decide(), "cnn")
    (tmp_path / "elsewhere").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m", "models:/flowers-cnn@champion"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        command + options,
        cwd=tmp_path / "elsewhere",
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + SECONDS
        while not answers(f"{address}/ping"):
            assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
            assert time.monotonic() < until, "no answer from the server"
            time.sleep(0.5)
        weights = next(path for path in (tmp_path / "artifacts").rglob("data/cnn_flowers.pth"))
        yield address, flowers_classifier.load_cnn_model(weights)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def post(address, body):
    """(HTTP status, the parsed response)."""
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_one_picture_several_and_invalid_ones(served_champion):
    """One server for all requests: it must survive each bad one."""
    address, model = served_champion
    pictures = [encode(scene(seed), "JPEG") for seed in range(3)]
    texts = [base64.b64encode(picture).decode("ascii") for picture in pictures]
    shares = flowers_classifier.predict_proba(model, pictures)
    for body in (
        {"dataframe_records": [{"image": text} for text in texts]},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"inputs": {"image": texts}},
    ):
        status, answer = post(address, body)
        assert status == 200, answer
        assert [row["label"] for row in answer["predictions"]] == flowers_classifier.predict(model, pictures)
        for row, expected in zip(answer["predictions"], shares, strict=True):
            assert list(row["probabilities"]) == list(CLASSES)
            assert list(row["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
    for image, reason in (
        (base64.b64encode(b"<html>no</html>").decode("ascii"), "not a picture in"),
        (texts[0][: len(texts[0]) // 2 // 4 * 4], "picture 1: damaged"),
        ("%%%", "picture 1: not base64"),
        (7, "the base64 text of a picture file is wanted, not int"),
    ):
        status, answer = post(address, {"dataframe_records": [{"image": image}]})
        assert (status, reason in answer["message"]) == (400, True), answer
        assert post(address, {"dataframe_records": [{"image": texts[0]}]})[0] == 200
    status, answer = post(address, {"dataframe_records": [{"picture": texts[0]}]})
    assert (status, "image" in answer["message"]) == (400, True)
