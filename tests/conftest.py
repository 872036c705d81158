"""Shared fixtures: an MLflow store per test, one thread per process, small generated pictures."""

import functools
import gc
import os
import shutil
from pathlib import Path

# Before torch is imported anywhere: two test processes share two cores, and nothing may phone a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import pytest

from flowerml.log import configure_logging

_TRACKING = ("campaign", "cli", "delivery", "sweep", "tracking")
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

gc.disable()  # while tests are collected: what is imported stays, and looking through it again takes seconds
configure_logging()  # as every command does: tests read its lines on stderr


def pytest_collection_finish():
    """Freeze the objects of all imports: each garbage collection would take half a second to look through them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def _cache(tmp_path_factory):
    """A scan cache of its own, not the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_mlflow(monkeypatch, tmp_path, _cache):
    """Each test has a tracking store of its own; the user's runs, server and cache are never touched."""
    monkeypatch.setenv("FLOWERML_CACHE_DIR", str(_cache))
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_DISABLE_TELEMETRY"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture(autouse=True)
def _ready_store(request, tmp_path):
    """Tests of the folders that track runs find their store's tables there: each would wait seconds for MLflow's."""
    folder = request.path.relative_to(ROOT / "tests").parts[0]
    if folder in _TRACKING and request.node.get_closest_marker("no_store") is None:
        shutil.copy(request.getfixturevalue("empty_store"), tmp_path / "mlflow.db")


@pytest.fixture(scope="session")
def flowers(tmp_path_factory):
    """A folder of 12 generated pictures of each of the five flowers."""
    from flowerml.data.synthetic.flowers import make_flowers

    root = tmp_path_factory.mktemp("flowers")
    make_flowers(root, per_class=12, size=64, seed=3)
    return root


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder of generated scenes, small ones: 10 pairs of each of the ten relations, annotations beside them."""
    from flowerml.data.synthetic.scenes import make_scenes, relation_counts

    root = tmp_path_factory.mktemp("scenes")
    make_scenes(root, relation_counts(100, long_tail=False), size=64, seed=5)
    return root


@pytest.fixture(scope="session")
def real_photos():
    """The folder of real flower photos; tests that need it are skipped where it is absent."""
    root = SHARED / "data" / "flowers"
    if not root.is_dir():
        pytest.skip("the real flower photos are not on this machine")
    return root


@pytest.fixture(scope="session")
def real_backbone():
    """The file of a real pretrained MobileNetV2; tests that need it are skipped where it is absent."""
    path = SHARED / "weights" / "mobilenetv2_100.safetensors"
    if not path.is_file():
        pytest.skip("the pretrained backbone is not on this machine")
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite file with MLflow's tables and no run, to be copied: creating the tables takes seconds."""
    from mlflow.store.db import utils
    from mlflow.tracking import MlflowClient

    # Each store that is opened is compared with the newest migration, for which MLflow imports all 67.
    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def made(empty_store, tmp_path):
    """A factory of synthetic runs in the test's own store."""
    from tests.tracking.made_runs import RunFactory

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return RunFactory(tmp_path)
