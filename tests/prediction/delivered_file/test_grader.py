"""The delivery as a grader has it: two weights files and one Python file in a folder, run from another, without network
or HOME.
"""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from flowerml import load_cnn_model, load_vit_model, predict
from flowerml.prediction.delivered import single_file
from tests.data.pictures import put, put_scene
from tests.prediction.delivered import CLASSES, NAMES, deliver

# Stands before the grader's own lines: every attempt to reach a network, or to start a process that could, is written
# down.
WATCH = """
import sys
tried = []
LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
NET = ("socket.connect", *LOOK_UPS, "socket.sendto", "socket.sendmsg")
def watch(event, args):
    # torch looks for libraries with ldconfig
    if event in NET or (event in ("subprocess.Popen", "os.system") and args[0] != "/sbin/ldconfig"):
        tried.append(event)
sys.addaudithook(watch)
"""
GRADER = """
from flowers_classifier import load_cnn_model, load_vit_model, predict
answers = {}
for load in (load_cnn_model, load_vit_model):
    model = load()
    answers[load.__name__] = [predict(model, path) for path in sys.argv[1:]]
import json
foreign = [name for name in ("flowerml", "mlflow") if name in sys.modules]
print(json.dumps({"answers": answers, "tried": tried, "foreign": foreign}))
"""


def allowed_without_interfaces() -> bool:
    try:
        return subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def delivery(tmp_path_factory) -> Path:
    """The folder: weights, and the single file with their digests filled in."""
    folder = tmp_path_factory.mktemp("delivery")
    digests = {}
    for family, name in NAMES.items():
        path = folder / f"{family}_flowers.pth"
        deliver(path, name)
        digests[path.name] = sha256(path.read_bytes()).hexdigest()
    put(folder / "flowers_classifier.py", single_file(digests).encode())
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    return [put_scene(folder / f"{number}.jpg", number, width=90, height=70) for number in range(8)]


def run(delivery, where, code, *words, before=()):
    """A fresh Python that knows the delivery's folder, the libraries, and nothing else."""
    environment = {
        "PYTHONPATH": str(delivery),
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [*before, sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("before", [(), ("unshare", "-n")], ids=["any network", "no network interface"])
def test_the_files_alone_name_the_flowers_and_reach_for_no_network(delivery, photos, tmp_path, before):
    if before and not allowed_without_interfaces():
        pytest.skip("this user may not make a network namespace (unshare -n)")
    done = run(delivery, tmp_path, WATCH + GRADER, *photos, before=before)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["tried"] == []
    assert found["foreign"] == []
    for load in (load_cnn_model, load_vit_model):
        model = load(delivery / f"{load.__name__[5:8]}_flowers.pth")
        wanted = [predict(model, path) for path in photos]
        assert found["answers"][load.__name__] == wanted
        assert set(wanted) <= set(CLASSES)
        assert len(set(wanted)) > 1
    assert list(tmp_path.iterdir()) == []
    assert len(list(delivery.iterdir())) == 3, "nothing is written beside the files"


def test_the_watch_sees_an_attempt(delivery, tmp_path):
    attempt = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass\nprint(tried)"
    done = run(delivery, tmp_path, WATCH + attempt)
    assert "socket.connect" in done.stdout


def test_a_tampered_copy_is_refused_with_one_line(delivery, tmp_path):
    data = bytearray((delivery / "cnn_flowers.pth").read_bytes())
    data[-1] ^= 1
    put(tmp_path / "cnn_flowers.pth", bytes(data))  # here is looked before beside the file
    code = (
        "import flowers_classifier as fc\ntry: fc.load_cnn_model()\nexcept fc.BadWeights as error: print(error)\n"
        "import sys; print([name for name in ('timm', 'open_clip') if name in sys.modules])"
    )
    done = run(delivery, tmp_path, code)
    message, imported = done.stdout.splitlines()
    assert "sha256" in message
    assert imported == "[]"


@pytest.mark.slow
def test_each_family_needs_its_own_library_only(delivery, photos, tmp_path):
    code = (
        "import sys; sys.modules['open_clip'] = None\nfrom flowers_classifier import load_cnn_model, predict\n"
        "print(predict(load_cnn_model(), sys.argv[1]))"
    )
    done = run(delivery, tmp_path, code, photos[0])
    assert done.stdout.strip() in CLASSES, done.stderr[-2000:]
