"""`flowerml app` refuses wrong input in one line; tests/app clicks through the page that it serves."""

import socket
import sys

import pytest
from mlflow.tracking import MlflowClient

from flowerml.app.models import AppModels
from flowerml.app.server import serve
from flowerml.cli.main import run_command
from flowerml.errors import UserError
from flowerml.tracking import REGISTERED, register
from flowerml.tracking.registry.fetch import registered_families
from flowerml.training.checkpoints.checkpoint import save_checkpoint
from tests.cli.refused import assert_refused
from tests.tracking.finished_runs import Store, trained

ALONE = (
    "the page has no log-in, so it is for this machine alone. Allowed: 127.0.0.1, localhost; from another machine reach"
    " it through ssh -L"
)


def call(*words) -> int:
    return run_command("app", [str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--port x", "--port is 'x'. Allowed: whole number, 0 to 65535"),
        ("--port 70000", "--port is '70000'. Allowed: whole number, 0 to 65535"),
        (
            "--checkpoint nix.pth",
            "--checkpoint nix.pth: no such file. Allowed: a delivered .pth, or a run's folder or best.pth",
        ),
        (
            "--checkpoint full",
            "--checkpoint full/best.pth: no such file. Allowed: a delivered .pth, or a run's folder or best.pth",
        ),
        ("--checkpoint full/x --port 0", "checkpoint full/x: can't be read (File is not a zip file)"),
        ("--host 0.0.0.0", f"--host 0.0.0.0: {ALONE}"),
        ("--host lab.example.org", f"--host lab.example.org: {ALONE}"),
        (
            "--port 0",
            "the tracking store has no registered champion: register one with `flowerml select --register`, or name"
            " files: --checkpoint FILE",
        ),
    ],
)
def test_wrong_input_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    assert_refused(call, words, line, tmp_path, monkeypatch, capsys)


def test_a_port_that_is_taken_is_one_line(capsys):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert call("--port", port) == 2
    line = f"--port {port} on 127.0.0.1: Address already in use. Give another, or stop what listens there"
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_without_gradio_a_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("flowerml.app.server.find_spec", lambda _name: None)
    assert call("--port", "0") == 2
    assert capsys.readouterr() == ("", 'error: flowerml app needs Gradio: pip install "flowerml[app]"\n')


def test_a_gradio_that_does_not_load_is_one_line(monkeypatch, tmp_path):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.delitem(sys.modules, "flowerml.app.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with socket.socket() as unused, pytest.raises(UserError, match=r"^Gradio can't be loaded \(.*\): pip install "):
        serve(AppModels({}, {}), unused, "127.0.0.1", tmp_path)


def test_champions_are_those_with_the_alias():
    client = MlflowClient()
    for name in (REGISTERED["relation"], REGISTERED["vit"], REGISTERED["cnn"]):
        client.create_registered_model(name)
        client.create_model_version(name, "file:///nowhere")
    assert registered_families() == []
    for name in (REGISTERED["relation"], REGISTERED["vit"]):
        client.set_registered_model_alias(name, "champion", "1")
    assert registered_families() == ["vit", "relation"]


@pytest.mark.slow
def test_without_files_the_champions_are_opened(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    register(Store(tmp_path).decide(hits=30), "cnn")
    opened = []
    monkeypatch.setattr("flowerml.app.server.serve", lambda *given: opened.append(given))
    assert call("--port", 0, "--device", "cpu") == 0
    (models, bound, host, _uploads), *_ = opened
    assert (list(models.classifiers), list(models.relations)) == (["flowers-cnn, version 1"], [])
    assert host == "127.0.0.1"
    assert bound.fileno() == -1, "the port is given back"
    assert capsys.readouterr().err.endswith("models: flowers-cnn, version 1\n")


def test_a_runs_folder_is_its_best_weights(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    opened = []
    monkeypatch.setattr("flowerml.app.server.serve", lambda *given: opened.append(given[0]))
    run, delivered = tmp_path / "b01", tmp_path / "relations.pth"
    run.mkdir()
    save_checkpoint(run / "best.pth", trained("cnn"))
    save_checkpoint(delivered, trained("relation"))
    assert call("--checkpoint", run, delivered, "--port", 0, "--device", "cpu") == 0
    assert (list(opened[0].classifiers), list(opened[0].relations)) == (["b01"], ["relations.pth"])
