"""What docs/guides/notify.md says of MLflow's webhooks: its code, run against a real server, and what arrives."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import get_args

import pytest
from mlflow.entities.webhook import WebhookEventStr
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.selection.registration import AliasAction, Verdict
from flowerml.tracking.registry.alias import CHAMPION, PREVIOUS, move_alias, version_by_alias
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "guides" / "notify.md").read_text()
MAKE, VERIFY = re.findall(r"(?s)```python\n(.*?)```", PAGE)
(EXAMPLE,) = map(json.loads, re.findall(r"(?s)```json\n(.*?)```", PAGE))
SECRET = "a secret"


@pytest.fixture
def received():
    """The address of a server on loopback, and the POSTs that it gets: (headers, body)."""
    posts = []
    arrived = threading.Condition()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with arrived:
                posts.append((self.headers, body))
                arrived.notify_all()

        def log_message(self, *_):
            pass

    def wait(count):
        with arrived:
            assert arrived.wait_for(lambda: len(posts) >= count, timeout=60), posts
            return posts[:]

    receiver = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{receiver.server_port}/flowers", wait
    receiver.shutdown()
    receiver.server_close()


def test_events_that_the_page_names_are_mlflows():
    named = set(re.findall(r"`(model_version[a-z_]*\.[a-z]+)`", PAGE)) | set(re.findall(r'"(\w+\.created)"', MAKE))
    assert {"model_version.created", "model_version_alias.created", "model_version_alias.deleted"} == named
    assert named <= set(get_args(WebhookEventStr))
    assert not [event for event in get_args(WebhookEventStr) if event.startswith(("run", "experiment"))]


def test_the_pages_code_makes_a_webhook_that_tells_of_a_new_champion(server, received, monkeypatch):
    address, wait = received
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")  # loopback
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr("mlflow.webhooks.delivery._webhook_cache", None)  # the server is in this process
    made = {}
    exec(MAKE.replace("https://hooks.example.org/flowers", address), made)
    assert len(wait(1)) == 1, "of test_webhook"
    client = MlflowClient(server.address, registry_uri=server.address)
    run = client.create_run(client.create_experiment("hooked"))
    client.create_registered_model("hooked")
    for number in ("1", "2"):
        version = client.create_model_version("hooked", f"{run.info.artifact_uri}/model", run.info.run_id)
        assert version.version == number
        champion = version_by_alias(client, "hooked", CHAMPION)
        move_alias(client, "hooked", number, champion, Verdict(AliasAction.FORCED, ""), ("1", "2"))
    posts = wait(6)[1:]
    client.delete_webhook(made["webhook"].webhook_id)
    told = [json.loads(body) for _, body in posts]
    assert sorted((one["entity"], one["data"].get("alias", ""), one["data"]["version"]) for one in told) == [
        ("model_version", "", "1"),
        ("model_version", "", "2"),
        ("model_version_alias", CHAMPION, "1"),
        ("model_version_alias", CHAMPION, "2"),
        ("model_version_alias", PREVIOUS, "1"),
    ]
    (changed,) = [one for one in told if one["data"].get("alias") == CHAMPION and one["data"]["version"] == "2"]
    expected = {**EXAMPLE, "data": {**EXAMPLE["data"], "name": "hooked", "version": "2"}}
    assert {**changed, "timestamp": ""} == {**expected, "timestamp": ""}
    verify = {}
    exec(VERIFY, verify)
    for headers, body in posts:
        assert verify["is_genuine"](headers, body, SECRET)
        assert not verify["is_genuine"](headers, body + b" ", SECRET)
        assert not verify["is_genuine"](headers, body, "another")


@pytest.mark.parametrize(
    ("url", "reason"), [("http://example.org", "Allowed schemes are: https"), ("https://127.0.0.1/x", "public")]
)
def test_address_that_is_not_public_https_is_refused(server, url, reason):
    with pytest.raises(MlflowException, match=reason):
        MlflowClient(server.address, registry_uri=server.address).create_webhook("x", url, ["model_version.created"])
