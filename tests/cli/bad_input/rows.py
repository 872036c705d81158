"""What the tables of bad input stand on: a case, the place it happens in, and the check after each."""

import contextlib
import json
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import HTTPServer
from pathlib import Path

import pytest
import torch

from flowerml.cli.main import run_command

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
TRAIN = (
    "--model convnextv2_atto --weights none --train-dir flowers --output-dir out --img-size 32 --epochs 1"
    " --warmup-epochs 0 --freeze-backbone-epochs 0 --batch-size 32 --workers 0 --device cpu"
)
LONG = "x" * 300  # longer than a file's name may be
PATIENCE_S = 120  # a guard against a command that waits for ever, not a measurement


@dataclass(frozen=True)
class Place:
    """The working folder of one case, with `flowers` (read only), and what its `make` may ask for."""

    root: Path
    trained: Path  # the folder of a finished small run, read only
    mounted: list[Path] = field(default_factory=list)
    locked: list[Path] = field(default_factory=list)
    servers: list[HTTPServer] = field(default_factory=list)

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
        """Give back what was mounted, locked or started."""
        for server in self.servers:
            server.shutdown()
            server.server_close()
        for folder in self.mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)  # MLflow keeps its connections to a store
        for path in self.locked:
            path.chmod(0o700)


def nothing(_place: Place) -> None:
    """The words alone are wrong."""


@dataclass(frozen=True)
class Case:
    """One mistake and what must come of it.

    `words` are a command's, as in a shell; those of `train` stand behind the small settings `TRAIN`. `line` is all that
    stderr has from `error: ` on, which is one line, or one line and a list; `…` in it stands for words that are a
    library's, or not agreed upon. `code` 1 means that a run had begun and is FAILED. `hidden` must not be shown.
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
    before = results(place.root)
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
    after = results(root)
    assert {path.name for path in after if path.name != "run.json"} == {
        path.name for path in before if path.name != "run.json"
    }
    assert {path: after.get(path) for path in before} == dict(before), "what stood there is as it was"
    for path in after.keys() - before.keys():
        assert json.loads(after[path])["status"] == "FAILED", path


def runs(root: Path) -> list[str]:
    """The status of every run in the place's store, read past MLflow."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as store:
        return [status for (status,) in store.execute("SELECT status FROM runs")]


def results(root: Path) -> dict[Path, bytes]:
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
