"""What the tables of bad input stand on: a case, the place it happens in, ways to break things, and the check after each."""

import contextlib
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from flowerml.cli.main import run_command
from tests.data.pictures import encode, put, put_scene, scene

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
TRAIN = (
    "--model convnextv2_atto --weights none --train-dir flowers --output-dir out --img-size 32 --epochs 1 --warmup-epochs 0 "
    "--freeze-backbone-epochs 0 --batch-size 32 --workers 0 --device cpu"
)
PATIENCE_S = 120  # a guard against a command that waits for ever, not a measurement


@dataclass(frozen=True)
class Place:
    """The working folder of one case, with `flowers` (read only), and what its `make` may ask for."""

    root: Path
    trained: Path  # the folder of a finished small run, read only
    mounted: list[Path] = field(default_factory=list)
    locked: list[Path] = field(default_factory=list)

    def own_flowers(self) -> Path:
        """A copy of the pictures that may be broken, under `data`."""
        return Path(shutil.copytree(self.root / "flowers", self.root / "data"))

    def checkpoint(self, change: Callable[[dict], object] = lambda content: None) -> Path:
        """The small run's checkpoint as `model.pth`, its content changed."""
        content = torch.load(self.trained / "best.pth", weights_only=True)
        change(content)
        torch.save(content, self.root / "model.pth")
        return self.root / "model.pth"

    def mount(self, name: str, options: str) -> None:
        """A file system in memory at `name`; skips where this process may not mount one."""
        folder = self.root / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("this process may not mount a file system")
        self.mounted.append(folder)

    def tidy(self) -> None:
        """Give back what was mounted or locked."""
        for folder in self.mounted:
            subprocess.run(["umount", folder], check=True)
        for path in self.locked:
            path.chmod(0o700)


def nothing(_place: Place) -> None:
    """The words alone are wrong."""


@dataclass(frozen=True)
class Case:
    """One mistake and what must come of it.

    `words` are a command's, as in a shell; those of `train` stand behind the small settings `TRAIN`. `line` is all that stderr has from
    `error: ` on, which is one line, or one line and a list; `…` in it stands for words that are a library's, or not agreed upon. `code`
    1 means that a run had begun and is FAILED. `hidden` must not be shown.
    """

    words: str
    line: str
    make: Callable[[Place], object] = nothing
    code: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: str = ""


def rows(cases: Mapping[str, Case]) -> list:
    """The table for `pytest.mark.parametrize`."""
    return [pytest.param(case, id=name) for name, case in cases.items()]


def run_case(case: Case, place: Place, capfd, monkeypatch) -> None:
    """Make the input, run the command in this process, and check everything that holds after any mistake."""
    case.make(place)
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    before = _results(place.root)
    capfd.readouterr()
    with guarded():
        code = run_command(*command_of(case.words))
    said = capfd.readouterr()
    assert_one_line(case.line, said.err)
    assert code == case.code
    assert said.out == "", "stdout belongs to results"
    assert not case.hidden or case.hidden not in said.err
    assert_nothing_open(place.root, before, failed=case.code == 1)


def command_of(words: str) -> tuple[str, list[str]]:
    """A case's words as the command's name and its flags."""
    command, *rest = shlex.split(words)
    return command, [*(shlex.split(TRAIN) if command == "train" else []), *rest]


def assert_one_line(expected: str, stderr: str) -> None:
    """From its only `error: ` on, stderr is just this."""
    assert "Traceback" not in stderr
    _, *errors = re.split(r"^error: ", stderr, flags=re.MULTILINE)
    assert len(errors) == 1, stderr
    pattern = re.escape(f"{expected}\n").replace("…", ".*")
    assert re.fullmatch(pattern, errors[0]), f"\nexpected: {expected}\n     got: {errors[0]}"


def assert_nothing_open(root: Path, before: Mapping[Path, bytes], *, failed: bool) -> None:
    """No run is RUNNING, and none is there at all unless one `failed`; nothing half-written counts as a result."""
    assert runs(root) == (["FAILED"] if failed else [])
    assert list(root.rglob("*.part")) == []
    after = _results(root)
    assert {path.name for path in after if path.name != "run.json"} == {path.name for path in before if path.name != "run.json"}
    assert {path: after.get(path) for path in before} == dict(before), "what stood there is as it was"
    for path in after.keys() - before.keys():
        assert json.loads(after[path])["status"] == "FAILED", path


def runs(root: Path) -> list[str]:
    """The status of every run in the place's store, read past MLflow."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as store:
        return [status for (status,) in store.execute("SELECT status FROM runs")]


def _results(root: Path) -> dict[Path, bytes]:
    """What others would take for a result, with its content: checkpoints and what says how a run ended."""
    return {path: path.read_bytes() for name in ("best.pth", "run.json") for path in root.rglob(name)}


@contextlib.contextmanager
def guarded():
    """Fail, and don't wait for ever, where a command does; past every `except Exception` in its way."""

    def give_up(_number, _frame):
        pytest.fail(f"no answer after {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- ways to break a folder of pictures -------------------------------------------------------------------------------------------


def with_file(name: str, data: bytes = b"") -> Callable[[Place], object]:
    """A file of this content in the working folder."""
    return lambda place: put(place.root / name, data)


def with_folders(*names: str) -> Callable[[Place], object]:
    """Empty folders in the working folder."""
    return lambda place: [(place.root / name).mkdir(parents=True) for name in names]


def with_picture(name: str, data: bytes | Callable[[], bytes]) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, with one file more, `data/<name>`."""
    return lambda place: put(place.own_flowers() / name, data() if callable(data) else data)


def with_link(name: str, target: str) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, with a symbolic link `data/<name>`."""
    return lambda place: (place.own_flowers() / name).symlink_to(target)


def only_pictures(counts: Mapping[str, int], seed: int = 0) -> Callable[[Place], object]:
    """`data` with so many pictures of each class, all different."""

    def make(place: Place) -> None:
        for number, (name, count) in enumerate(counts.items()):
            for picture in range(count):
                put_scene(place.root / "data" / name / f"{picture}.jpg", seed + 100 * number + picture)

    return make


def one_class_of(data: bytes) -> Callable[[Place], object]:
    """`data` with pictures of four flowers, and of daisy three files of this content."""

    def make(place: Place) -> None:
        only_pictures(dict.fromkeys(FLOWERS[1:], 3))(place)
        for number in range(3):
            put(place.root / "data" / "daisy" / f"{number}.png", data)

    return make


def flat(width: int, height: int) -> bytes:
    """A PNG of one colour."""
    return encode(Image.new("RGB", (width, height), (200, 30, 60)), "PNG")


def locked(name: str) -> Callable[[Place], object]:
    """A copy of the pictures in `data`, of which `data/<name>` may not be read."""

    def make(place: Place) -> None:
        path = place.own_flowers() / name
        path.chmod(0)
        place.locked.append(path)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")

    return make


def bomb() -> bytes:
    """A small file of 400 million pixels."""
    return encode(Image.new("1", (20_000, 20_000)), "PNG")


def half_a_photo() -> bytes:
    """A JPEG that ends in its middle."""
    whole = encode(scene(1, width=160, height=160), "JPEG")
    return whole[: len(whole) // 2]


def with_pipe(place: Place) -> None:
    """A named pipe among the pictures: whoever opens it waits for a writer. One comes after a while, so that the test can end."""
    pipe = place.own_flowers() / "rose" / "pipe.jpg"
    os.mkfifo(pipe)

    def release() -> None:
        for _ in range(200):
            with contextlib.suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.1)

    threading.Thread(target=release, daemon=True).start()


def vanishing(place: Place) -> None:
    """The pictures of one class go once the run has begun."""
    data, begun = place.own_flowers(), place.root / "out" / "run.json"

    def remove() -> None:
        for _ in range(60_000):
            if begun.exists():
                shutil.rmtree(data / "rose")
                return
            time.sleep(0.001)

    threading.Thread(target=remove, daemon=True).start()


# --- ways to break files of weights -------------------------------------------------------------------------------------------------


class _Code:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def pickled_code(name: str) -> Callable[[Place], object]:
    """A file that runs code where it is unpickled without care; zipped as torch writes it."""

    def make(place: Place) -> None:
        torch.save({"state_dict": _Code()}, place.root / name, pickle_module=pickle)

    return make


def torch_file(name: str, value: object) -> Callable[[Place], object]:
    """A value as torch saves it."""
    return lambda place: torch.save(value, place.root / name)


def backbone(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Place], object]:
    """The small run's backbone as `w.safetensors`, its tensors changed."""

    def make(place: Place) -> None:
        state = torch.load(place.trained / "best.pth", weights_only=True)["state_dict"]
        tensors = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
        change(tensors)
        save_file(tensors, place.root / "w.safetensors")

    return make


def half_of(make: Callable[[Place], object], name: str) -> Callable[[Place], object]:
    """The first half of a file that `make` leaves."""

    def cut(place: Place) -> None:
        make(place)
        os.truncate(place.root / name, (place.root / name).stat().st_size // 2)

    return cut


def changed(change: Callable[[dict], object] = lambda content: None) -> Callable[[Place], object]:
    """The small run's checkpoint as `model.pth`, its content changed."""
    return lambda place: place.checkpoint(change)


def flipped(place: Place) -> None:
    """One bit of a checkpoint's weights is another."""
    path = place.checkpoint()
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(data)


# --- ways to spoil the place where results go, and what stands around ---------------------------------------------------------------


def finished_run(place: Place) -> None:
    """`out` holds the small finished run."""
    shutil.copytree(place.trained, place.root / "out")


def mounted(options: str) -> Callable[[Place], object]:
    """A small or read-only file system at `disk`."""
    return lambda place: place.mount("disk", options)


def deleted_experiment(place: Place) -> None:
    """The store's experiment `flowers` is in its bin."""
    place.checkpoint()
    client = MlflowClient()
    client.delete_experiment(client.create_experiment("flowers"))


def no_gpu(_place: Place) -> None:
    """Only where there is none: elsewhere the command would be right."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
