"""Makes `made_by_0_1_0.tar.xz`: what flowerml 0.1.0 leaves on a disk, for `test_earlier_version` to go on with.

Run once, by hand, in a checkout of commit c949f16 (which has no such file), and never by the tests:

    git clone URL /tmp/flowerml-code && cd /tmp/flowerml-code && git checkout c949f16 && make setup
    git remote remove origin        # MLflow would write its address down
    cp -r NEWER_CHECKOUT/tests/compatibility /tmp
    PYTHONPATH=$PWD unshare -u sh -c 'hostname workstation && .venv/bin/python /tmp/compatibility/make_fixture.py'

Everything is made under one neutral folder, MADE_AT, with commands that a user types (`fixture_commands.py`); they
stand in `expected.json` with what they printed. The archive stays small as all backbones start at the same two files of
coarsely rounded values, and most runs keep them frozen.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

# Before torch and MLflow are imported; what the tests set as well.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
os.environ["FLOWERML_CACHE_DIR"] = "/tmp/flowerml-reference/cache"
os.environ["PYTHONPATH"] = str(Path.cwd())
os.environ["LOGNAME"] = "user"
os.environ["HOME"] = "/home/user"

import psutil
import timm
import torch
from figures import history, weights_digest
from fixture_commands import CAMPAIGN, KILLED, PLAN, RELATION, SELECT, STOPPED, TRAINED, UNDELIVERED
from safetensors.torch import save_file

import flowerml.cli.main
from flowerml import load_relation_model, predict_relation

for module in (
    "runs.training",
    "runs.evaluation",
    "runs.selecting",
    "tracking",
    "delivery.export",
    "campaign.carrying",
):
    importlib.import_module(f"flowerml.{module}")  # as those of that commit are called

MADE_AT = Path("/tmp/flowerml-fixture")
SCRATCH = Path("/tmp/flowerml-reference")  # undisturbed runs, of which only the figures are kept
STORE = "sqlite:///mlflow.db"  # in the working folder of each command
AWAY = "http://127.0.0.1:9"  # the discard port: a tracking server that is away


def begin(command: str, folder: Path, store: str) -> None:
    """In a process of its own: `flowerml COMMAND` in `folder`; what it prints goes to files in SCRATCH."""
    for number, name, how in ((1, "stdout.txt", "w"), (2, "said.txt", "a")):
        with (SCRATCH / name).open(how) as file:
            os.dup2(file.fileno(), number)
    os.setsid()
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = store
    sys.argv = [str(Path(flowerml.cli.main.__file__)), *command.split()]
    sys.exit(flowerml.cli.main.main())


def start(command: str, folder: Path, store: str = STORE) -> BaseProcess:
    """`flowerml COMMAND` in `folder`, in a fork of this process: importing takes most of a small run's time."""
    print(f"(cd {folder}; MLFLOW_TRACKING_URI={store} flowerml {command})", flush=True)
    process = multiprocessing.get_context("fork").Process(target=begin, args=(command, folder, store))
    process.start()
    return process


def run(command: str, folder: Path, store: str = STORE) -> str:
    """As `start`, to its end. Returns what stands on stdout."""
    process = start(command, folder, store)
    process.join(600)
    assert process.exitcode == 0, f"{command}: exit code {process.exitcode}, see {SCRATCH / 'said.txt'}"
    return (SCRATCH / "stdout.txt").read_text()


def interrupt(command: str, folder: Path, checkpoint: str, how: signal.Signals) -> None:
    """Start a command; send it a signal (SIGKILL: to all its processes) once a checkpoint of that pattern stands."""
    process = start(command, folder)
    while not list(folder.glob(checkpoint)):
        assert process.is_alive(), f"{command} ended before {checkpoint}"
        time.sleep(0.001)
    family = psutil.Process(process.pid).children(recursive=True) if how == signal.SIGKILL else []
    for one in (psutil.Process(process.pid), *family):
        one.send_signal(how)
    process.join(60)
    assert process.exitcode != 0, f"{command} came to its end"


def coarse_weights(name: str, path: Path, **options: object) -> None:
    """A random backbone whose values have 3 bits of mantissa: it packs to a fifth."""
    torch.manual_seed(7)
    state = timm.create_model(name, num_classes=0, **options).state_dict()
    rounded = {}
    for key, tensor in state.items():
        fraction, exponent = torch.frexp(tensor.float())
        values = torch.ldexp(torch.round(fraction * 8) / 8, exponent)
        rounded[key] = torch.where(exponent < -8, torch.zeros(()), values) if tensor.is_floating_point() else tensor
    save_file({key: tensor.contiguous() for key, tensor in rounded.items()}, path)


def decide(folder: Path) -> dict[str, object]:
    """What is chosen among all runs of the store, those that are not eligible included; changes nothing."""
    decisions = {family: json.loads(run(f"{command} --no-record --json", folder)) for family, command in SELECT.items()}
    return decisions | {"cnn_table": run(f"{SELECT['cnn']} --no-record", folder)}


def make_team() -> dict[str, object]:
    """A store, finished and interrupted runs, registered models, a delivery. Returns what is expected of them."""
    folder, reference = MADE_AT / "team", SCRATCH / "team"
    for place in (folder, reference):
        place.mkdir()
    for command in TRAINED.values():
        run(command, folder)
    for command in SELECT.values():
        run(f"{command} --register", folder)
    run("export --family both --output-dir delivery", folder)
    evaluated = json.loads(run("eval --checkpoint runs/cnn-a-s11/best.pth --split val --device cpu --json", folder))
    predicted = {
        path: json.loads(run(f"predict --model {path} ../data/fresh --device cpu --json", folder))
        for path in ("delivery/cnn_flowers.pth", "delivery/vit_flowers.pth", "runs/cnn-b-s11/best.pth")
    }
    run(UNDELIVERED, folder, AWAY)
    interrupt(STOPPED, folder, "runs/stopped/state/epochs-0002-*/manifest.json", signal.SIGTERM)
    # The last training here: another one beside it would close the dead run.
    interrupt(KILLED, folder, "runs/killed/state/epochs-0002-steps-000002/manifest.json", signal.SIGKILL)
    decisions = decide(folder)
    for name in ("killed", "stopped"):
        left = [path.name for path in (folder / "runs" / name / "state").iterdir()]
        assert not [path for path in left if path.endswith(".part")], (
            f"{name} was cut off inside the writing of a checkpoint: {left}"
        )
    undisturbed = {}
    for name, command in (("killed", KILLED), ("stopped", STOPPED)):
        run(command, reference)
        left = reference / "runs" / name
        undisturbed[name] = {"history": history(left), "weights": weights_digest(left / "best.pth")}
    return {
        "commands": {
            "train": TRAINED,
            "killed": KILLED,
            "stopped": STOPPED,
            "undelivered": UNDELIVERED,
            "select": SELECT,
        },
        "decisions": decisions,
        "evaluated": evaluated,
        "predicted": predicted,
        "undisturbed": undisturbed,
    }


def make_relation() -> dict[str, object]:
    """The weights of a relation model, two scenes, and what the model says of some of their pairs."""
    kept, reference = MADE_AT / "relation", SCRATCH / "relation"
    for place in (kept, reference):
        place.mkdir()
    run("dataset make --kind relations --train-dir scenes --per-class 24 --size 64 --seed 5", reference)
    run(RELATION, reference)
    shutil.copy(reference / "runs" / "relation" / "best.pth", kept / "best.pth")
    model, boxes = load_relation_model(kept / "best.pth"), ((4, 6, 30, 40), (20, 24, 60, 62))
    answers = []
    for scene in sorted((reference / "scenes").glob("*.jpg"))[:3]:
        shutil.copy(scene, kept / scene.name)
        for subject, other in (boxes, boxes[::-1]):
            answers.append([scene.name, subject, other, predict_relation(model, kept / scene.name, subject, other)])
    return {"command": RELATION, "answers": answers}


def make_campaign() -> dict[str, object]:
    """A folder with a campaign that was killed in its phase D. Returns what is expected of its end."""
    folder, reference = MADE_AT / "campaign", SCRATCH / "campaign"
    for place in (folder, reference):
        place.mkdir()
        (place / "plan.yaml").write_text(PLAN)
    interrupt(CAMPAIGN, folder, "runs/D1/state/epochs-0002-*/manifest.json", signal.SIGKILL)
    result = json.loads(run(CAMPAIGN, reference))
    return {"commands": {"campaign": CAMPAIGN}, "campaign": result}


def pack(archive: Path) -> None:
    """The fixture as an archive that depends on nothing but its files; refuses one that names this machine."""
    words = os.environ.get("NEVER_IN_THE_FIXTURE", "").split()
    files = sorted(path for path in MADE_AT.rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        found = [word for word in words if word.encode() in content]
        assert not found, f"{path} names {found}"

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "user"
        return entry

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        # Files of one name beside each other: copies of one thing are found again by the compressor.
        for path in sorted(files, key=lambda path: (path.suffix, path.name, str(path))):
            tar.add(path, path.relative_to(MADE_AT), filter=plain)
    print(f"{archive}: {archive.stat().st_size:,} bytes, {len(files)} files")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--archive", type=Path, default=Path("/tmp/made_by_0_1_0.tar.xz"))
    archive = parser.parse_args().archive
    for place in (MADE_AT, SCRATCH):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    weights = MADE_AT / "weights"
    weights.mkdir()
    coarse_weights("test_efficientnet", weights / "cnn.safetensors")
    coarse_weights("test_vit", weights / "vit.safetensors", img_size=32)
    run("dataset make --train-dir data/train --per-class 12 --size 32 --seed 3", MADE_AT)
    run("dataset make --train-dir data/fresh --per-class 2 --size 32 --seed 977", MADE_AT)
    for name in ("data", "weights"):
        (SCRATCH / name).symlink_to(MADE_AT / name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    machine = {"torch": torch.__version__, "timm": timm.__version__}
    expected = {
        "commit": commit,
        "made_at": str(MADE_AT),
        "versions": machine,
        "team": make_team(),
        "campaign": make_campaign(),
    }
    expected["relation"] = make_relation()
    (MADE_AT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    pack(archive)


if __name__ == "__main__":
    main()
