"""MLflow's pages as `make ui` opens them: from the address that it prints, two clicks lead to a champion's mistakes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from urllib.request import urlopen

import pytest

from flowerml.tracking import register
from flowerml.tracking.client.experiments import describe_experiment
from flowerml.tracking.client.shared_view import KEY
from tests.cli.test_commands import ROOT, environment
from tests.tracking.finished_runs import Store

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """(what `make ui` printed, the experiment's id, the decision) of a store with a champion; asserts that it ends."""
    folder = tmp_path_factory.mktemp("pages")
    address = f"sqlite:///{folder / 'ui.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        store = Store(folder)
        describe_experiment(store.client, store.experiment)
        decision = store.decide(hits=30)
        (folder / "errors.html").write_text("<h1>ten of forty are wrong</h1>")
        store.client.log_artifact(decision.chosen.run_id, str(folder / "errors.html"))
        register(decision, "cnn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["make", "--silent", "ui", f"STORE={address}", f"PORT={port}"]
    said = folder / "said"
    with said.open("w") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while "Ctrl-C" not in said.read_text():
                assert server.poll() is None, said.read_text()
                assert time.monotonic() < deadline, "no answer from the server"
                time.sleep(0.2)
            yield said.read_text().splitlines()[0], store.experiment, decision
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        assert time.monotonic() < deadline, "the server goes on without the command"
        time.sleep(0.2)


def test_the_address_is_that_of_the_experiment_used_last_as_model_training(pages):
    address, experiment, _ = pages
    server, page = address.split("#")
    assert page == f"/experiments/{experiment}/runs?workflowType=machine_learning"
    with urlopen(f"{server}health", timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
def test_two_clicks_lead_to_the_champion_why_it_won_and_its_mistakes(pages):
    from playwright.sync_api import expect, sync_playwright

    address, _, decision = pages
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(60_000)  # ms; a busy machine
        expect.set_options(timeout=60_000)
        runs = context.new_page()
        runs.goto(address)
        with context.expect_page() as opened:
            # by its address: a column that may come a moment later has a link of the same name, to the logged model
            runs.locator('a[href*="/models/flowers-cnn/versions/"]').click()
        version = opened.value
        expect(version.get_by_text(re.compile(r"^\W*champion$")).first).to_be_visible()
        expect(version.get_by_text(decision.words.split(". ")[0]).first).to_be_visible()
        with context.expect_page() as opened:
            version.get_by_role("link", name="the pictures that it got wrong").first.click()
        page = opened.value.frame_locator("iframe").get_by_text("ten of forty are wrong")
        expect(page).to_be_visible()
        runs.goto(f"{address}&viewStateShareKey={KEY}")
        for column in ("best_val_accuracy", "Duration"):
            expect(runs.get_by_role("columnheader", name=column).first).to_be_visible()
        expect(runs.get_by_text("You're viewing a shared view")).to_be_visible()
        browser.close()
