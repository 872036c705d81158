"""A hub that can't be reached: one line, after one question; weights in the cache are found all the same."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from flowerml.data.synthetic.flowers import make_flowers
from flowerml.errors import UserError
from flowerml.models.builders import build
from flowerml.settings import find_model
from tests.conftest import ROOT

MODEL = "timm:test_vit"
CACHED = "models--timm--test_vit.r160_in1k"
ONE_QUESTION = ["HEAD / HTTP/1.1"]
STOPS = "stops"


@contextmanager
def endpoint(answer):
    """The address of a hub, and the first lines of the requests that it got; `answer` None: it never answers.

    STOPS: it answers the first one only.
    """
    asked, held = [], []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                asked.append(connection.recv(4096).split(b"\r\n")[0].decode())
                words = answer if answer != STOPS else "200 OK" if len(asked) == 1 else None
                if words is not None:
                    connection.sendall(f"HTTP/1.1 {words}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def refusing_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Makes an address the hub's, with an empty cache: its client reads the environment only once."""
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def use_address(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        path = template[template.index("/{repo_id}") :]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)

    return use_address


def fetch():
    return build(find_model(MODEL), 3, img_size=32, weights="hub")


@pytest.mark.parametrize(("answer", "reason"), [(None, "no answer in 1 s"), ("503 Busy", "it answers 503")])
def test_a_hub_that_does_not_help_is_asked_once_and_named_in_one_line(use, capfd, answer, reason):
    with endpoint(answer) as (address, asked):
        use(address)
        with pytest.raises(UserError) as caught:
            fetch()
        words = f"(the hub {address} can't be reached ({reason}), and this machine's cache does not have them)"
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert asked == ONE_QUESTION
        assert not constants.is_offline_mode(), "a later run asks again"
    assert capfd.readouterr() == ("", ""), "the client's own lines"


def test_a_hub_that_is_switched_off_is_not_asked(use, monkeypatch):
    with endpoint(None) as (address, asked):
        use(address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match="can't be fetched"):
            fetch()
        assert asked == []
        assert constants.is_offline_mode()


@pytest.mark.slow
def test_a_hub_that_stops_answering_is_left_after_two_requests(use, capfd):
    with endpoint(STOPS) as (address, asked):
        use(address)
        for tries in (1, 2):
            with pytest.raises(UserError) as caught:
                fetch()
            reason = "it has stopped answering: 2 requests, up to 1 s each"
            if tries == 2:
                reason = "no answer in 1 s"  # it is asked anew, with the client as it was
            assert f"(the hub {address} can't be reached ({reason}), and this machine's cache" in str(caught.value)
            assert not constants.is_offline_mode()
        assert len(asked) == 4
    assert capfd.readouterr() == ("", ""), "the client's own lines"


@pytest.mark.parametrize(("answer", "requests"), [("503 Busy", 1), (STOPS, 3)])
def test_weights_in_the_cache_are_found_without_the_hub(use, tmp_path, answer, requests):
    commit, model = "0" * 40, timm.create_model("test_vit")
    (tmp_path / CACHED / "refs").mkdir(parents=True)
    (tmp_path / CACHED / "refs" / "main").write_text(commit)
    (tmp_path / CACHED / "snapshots" / commit).mkdir(parents=True)
    save_file(model.state_dict(), tmp_path / CACHED / "snapshots" / commit / "model.safetensors")
    with endpoint(answer) as (address, asked):
        use(address)
        built = fetch()
        assert len(asked) <= requests
    found = dict(built.model.named_parameters())
    (name,) = (name for name in found if name.endswith("blocks.0.attn.qkv.weight"))
    assert torch.equal(found[name], model.get_parameter("blocks.0.attn.qkv.weight"))


@pytest.mark.slow
def test_a_command_says_it_in_one_line(tmp_path):
    """With nothing of the client's own lines, of timm's or of a traceback."""
    make_flowers(tmp_path / "pictures", per_class=4, size=32, seed=5)
    address = refusing_address()
    words = ["--train-dir", str(tmp_path / "pictures"), "--output-dir", str(tmp_path / "out"), "--model", MODEL]
    environment = {name: text for name, text in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HOME")}
    environment |= {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-m", "flowerml.cli.main", "train", "-q", "--img-size", "32", "--device", "cpu", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: the pretrained weights of timm:test_vit can't be fetched")
    assert f"the hub {address} can't be reached (" in line
    assert "refused" in line
