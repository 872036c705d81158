"""From pictures to a grader: real entry points, a real tracking server; three seeds of two configurations of a CNN and
of a ViT.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from flowerml.data.synthetic.flowers import make_flowers
from tests.prediction.delivered_file.test_grader import GRADER, WATCH, allowed_without_interfaces

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SEEDS = (11, 23, 47)
FAST = {
    "weights": "none",
    "epochs": "2",
    "warmup_epochs": "1",
    "freeze_backbone_epochs": "0",
    "batch_size": "16",
    "workers": "0",
}
MODELS = {
    "cnn": {"model": "convnextv2_atto", "img_size": "32", "lr_backbone": "3e-3"},
    "vit": {"model": "clip_vits32", "img_size": "64", "lr_backbone": "3e-4"},
}
RATES = ("3e-3", "1e-4")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole-way")
    make_flowers(folder / "data", per_class=20, size=64, seed=3)
    return folder


@pytest.fixture(scope="module")
def server(place):
    """The address of a tracking server of its own, stopped by its id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1, "--serve-artifacts"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{place / 'server.db'}",
        "--artifacts-destination",
        place / "server-artifacts",
    ]
    unasked = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}
    with (place / "server.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=place,
            env=os.environ | unasked,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (place / "server.log").read_text()[-2000:]
                assert time.monotonic() < until, "no answer from the server"
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def call(server, *words):
    environment = os.environ | {"MLFLOW_TRACKING_URI": server, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(list(map(str, words)), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def trained(place, server):
    """Twelve trainings, two at a time, by the entry point."""

    def train(family, rate, seed):
        settings = {**FAST, **MODELS[family], "lr_head": rate, "seed": seed, "train_dir": place / "data"}
        settings["output_dir"] = place / "runs" / f"{family}-{rate}-{seed}"
        words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
        return json.loads(call(server, BIN / "python", "entrypoints/train.py", *words, "--json").stdout)

    jobs = [(family, rate, seed) for family in MODELS for rate in RATES for seed in SEEDS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda job: train(*job), jobs), strict=True))


def test_train_select_register_export_and_the_grader(trained, place, server):
    client = MlflowClient(server)
    chosen = {}
    for family in MODELS:
        means = {}
        for rate in RATES:
            runs = [trained[family, rate, seed] for seed in SEEDS]
            assert len({run["config_id"] for run in runs}) == 1
            means[runs[0]["config_id"]] = sum(round(run["val"]["accuracy"] * run["val"]["total"]) for run in runs)
        call(server, BIN / "mlflow", "run", ".", "-e", "select", "--env-manager=local", "-P", f"family={family}")
        version = client.get_model_version_by_alias(f"flowers-{family}", "champion")
        winner = version.tags["flowerml.config_id"]
        assert means[winner] == max(means.values())
        runs = [run for (_, _, _), run in trained.items() if run["config_id"] == winner]
        best = max(run["val"]["accuracy"] for run in runs)
        chosen[family] = next(run for run in runs if run["run_id"] == version.run_id)
        assert chosen[family]["val"]["accuracy"] == best
        again = json.loads(call(server, BIN / "flowerml", "select", "--family", family, "--register", "--json").stdout)
        assert again["winner"] == winner
        assert len(client.search_model_versions(f"name = 'flowers-{family}'")) == 1
    selections = [run for run in everything(client) if run.data.tags.get("flowerml.kind") == "select"]
    assert {run.info.status for run in selections} == {"FINISHED"}
    assert {entry.path for entry in client.list_artifacts(selections[0].info.run_id)} >= {
        "decision.json",
        "decision.md",
    }

    out = place / "delivery"
    call(server, BIN / "mlflow", "run", ".", "-e", "export", "--env-manager=local", "-P", f"output_dir={out}")
    files = json.loads((out / "MANIFEST.json").read_text())["files"]
    assert {name: files[name]["run_id"] for name in ("cnn_flowers.pth", "vit_flowers.pth")} == {
        f"{family}_flowers.pth": run["run_id"] for family, run in chosen.items()
    }
    table = place / "named.csv"
    call(
        server, BIN / "flowerml", "predict", "--model", out / "cnn_flowers.pth", place / "data" / "rose", "--csv", table
    )
    assert len(pd.read_csv(table)) == 20
    grade(out, place, chosen)


def everything(client):
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def grade(out, place, chosen):
    """The two weights and the one file, in an empty folder, from another one, without HOME and without a network
    interface.
    """
    empty, elsewhere = place / "grader", place / "elsewhere"
    empty.mkdir()
    elsewhere.mkdir()
    for name in ("cnn_flowers.pth", "vit_flowers.pth", "flowers_classifier.py"):
        (empty / name).write_bytes((out / name).read_bytes())
    recorded = {family: pd.read_csv(Path(run["folder"]) / "predictions.csv") for family, run in chosen.items()}
    images = list(recorded["cnn"].image)
    command = [sys.executable, "-c", WATCH + GRADER, *(str(place / "data" / image) for image in images)]
    environment = {"PYTHONPATH": str(empty), "PATH": "/usr/bin:/bin"}
    before = ["unshare", "-n"] if allowed_without_interfaces() else []
    done = subprocess.run(before + command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["tried"], found["foreign"]) == ([], [])
    for family, table in recorded.items():
        assert list(table.image) == images
        assert found["answers"][f"load_{family}_model"] == list(table.predicted)
