"""`flowerml dataset fetch`, called as the command is: exit codes, one line per mistake, what to type next."""

import json
import os
import pty
import shlex
import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from tests.cli.test_commands import ROOT, call
from tests.data.download.archive_server import COUNTS, PHOTOS, ArchiveServer, Turn, digest, tgz, tree, whole
from tests.data.pictures import encode, scene

pytestmark = pytest.mark.no_store

ARCHIVE = tgz(PHOTOS)
SHA = digest(ARCHIVE)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    server = ArchiveServer(Turn(ARCHIVE))
    yield server
    server.close()


@pytest.fixture
def fetch(capsys):
    """A function that runs `flowerml dataset fetch ...` and returns (exit code, stderr); nothing may be on stdout."""

    def run(*words):
        code = main(["dataset", "fetch", *map(str, words)])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def last_line(stderr):
    line = stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_it_says_what_came_and_what_to_type_next(fetch, server, tmp_path):
    root = tmp_path / "my data" / "train"
    code, err = fetch("--url", server.url, "--sha256", SHA.upper(), "--train-dir", root)
    assert code == 0
    assert whole(root)
    first, counted, following = err.splitlines()
    assert first == f"fetching {server.url}"
    assert (
        counted == f"15 pictures in {root}: {', '.join(f'{name} {n}' for name, n in COUNTS.items())}; licence:"
        f" {root / 'LICENSE.txt'}"
    )
    assert following == f"next: flowerml dataset check --train-dir {shlex.quote(str(root))}"


def test_the_next_command_passes(capsys, fetch, tmp_path):
    entries = {
        f"flower_photos/{name}/{n}.jpg": encode(scene(7 * n + place), "JPEG")
        for place, name in enumerate(("daisy", "dandelion", "roses", "sunflowers", "tulips"))
        for n in (1, 2)
    }
    archive = tmp_path / "photos.tgz"
    archive.write_bytes(tgz(entries))
    code, err = fetch("--archive", archive, "--sha256", digest(archive.read_bytes()), "--train-dir", tmp_path / "train")
    assert code == 0
    command = shlex.split(err.splitlines()[-1].removeprefix("next: "))
    assert command[0] == "flowerml"
    assert main([*command[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == dict.fromkeys(COUNTS, 2)


def test_the_default_folder_is_data_train(fetch, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fetch("--url", server.url, "--sha256", SHA)[0] == 0
    assert whole(tmp_path / "data" / "train")
    assert names(tmp_path / "data") == ["train"]


@pytest.mark.parametrize(
    "words", [["--keep-archive"], ["--keep_archive", "true"], ["--keep-archive=false"], []], ids=str
)
def test_the_archive_stays_only_when_asked_for(fetch, server, tmp_path, words):
    assert fetch("--url", server.url, "--sha256", SHA, "--train-dir", tmp_path / "data" / "train", *words)[0] == 0
    is_kept = bool(words) and "false" not in words[0]
    assert names(tmp_path / "data") == (["flower_photos.tgz", "train"] if is_kept else ["train"])


def test_the_default_digest_applies_to_other_addresses_and_files(fetch, server, tmp_path):
    """The size tells first that it is not the public archive; a file on disk is told by its digest and stays."""
    code, err = fetch("--url", server.url, "--train-dir", tmp_path / "train")
    assert code == 2
    assert "where the archive has 228813984" in last_line(err)
    (tmp_path / "mine.tgz").write_bytes(ARCHIVE)
    code, err = fetch("--archive", tmp_path / "mine.tgz", "--train-dir", tmp_path / "train")
    assert code == 2
    assert "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c" in last_line(err)
    assert SHA in err
    assert names(tmp_path) == ["mine.tgz"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--sha256", "abc"], "--sha256 is 'abc'. Allowed: 64 hexadecimal digits"),
        (["--sha256", ""], "--sha256 is ''"),
        (["--sha256", "g" * 64], "64 hexadecimal digits"),
        (["--archive", "a.tgz", "--url", "http://x/y.tgz"], "name one of them"),
        (["--archive", "absent.tgz"], "can't read absent.tgz: No such file"),
        (["--url", "photos.tgz"], "--url is 'photos.tgz'"),
        (["--keep-archive", "yes"], "invalid choice: 'yes'"),
        (["--sha", "abc"], "Did you mean --sha256?"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_mistakes_are_one_line_and_nothing_is_made(fetch, tmp_path, monkeypatch, words, hint):
    monkeypatch.chdir(tmp_path)
    code, err = fetch(*words)
    assert code == 2
    assert err.count("\n") == 1
    assert hint in last_line(err)
    assert [path for path in tree(tmp_path) if not path.startswith("mlflow")] == []
    assert not (tmp_path / "data" / "train").exists()


def test_a_folder_with_pictures_is_refused(fetch, server, flowers):
    before = tree(flowers)
    code, err = fetch("--url", server.url, "--sha256", SHA, "--train-dir", flowers)
    assert code == 2
    assert f"--train-dir {flowers} exists and is not empty" in last_line(err)
    assert tree(flowers) == before
    assert server.requests == []


def test_the_command_does_not_wait_for_torch(server, tmp_path):
    program = (
        "import sys; from flowerml.cli.main import main; code = main(sys.argv[1:]); print(code, {'torch', 'mlflow'} &"
        " set(sys.modules))"
    )
    words = ["dataset", "fetch", "--url", server.url, "--sha256", SHA, "--train-dir", str(tmp_path / "train")]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120)
    assert done.stdout == "0 set()\n", done.stderr


def test_a_terminal_shows_bytes_and_rate(tmp_path):
    server = ArchiveServer(Turn(ARCHIVE, cut=60_000), Turn(ARCHIVE))
    ours, theirs = pty.openpty()
    words = ["dataset", "fetch", "--url", server.url, "--sha256", SHA, "--train-dir", str(tmp_path / "train")]
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        child = subprocess.Popen([sys.executable, "-m", "flowerml.cli.main", *words], stderr=theirs, env=environment)
        os.close(theirs)
        output = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so where the other side has closed
                break
            if not piece:
                break
            output += piece
        assert child.wait(timeout=60) == 0
    finally:
        os.close(ours)
        server.close()
    text = output.decode()
    assert "fetching" in text
    assert "/s" in text
    assert f"/{len(ARCHIVE) / 1000:.1f} kB" in text
    assert "trying again in 1 s, from 60.0 kB on" in text
    assert "15 pictures in" in text


def test_help_names_the_action_and_its_flags(fetch, capsys):
    with pytest.raises(SystemExit) as caught:
        fetch("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("fetch", "--url", "--archive", "--sha256", "--keep-archive", "CC-BY"))


@pytest.mark.slow
def test_mlflow_run_fetches_with_any_flag(server, tmp_path):
    given = {
        "action": "fetch",
        "train_dir": tmp_path / "my train",
        "url": server.url,
        "sha256": SHA,
        "keep_archive": "true",
    }
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    done = call("mlflow", "run", ".", "-e", "dataset", "--env-manager=local", *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "my train")
    assert (tmp_path / "flower_photos.tgz").read_bytes() == ARCHIVE
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FINISHED"
    done = call("mlflow", "run", ".", "-e", "dataset", "--env-manager=local", *words, cwd=ROOT)
    assert done.returncode == 1
    assert "exists and is not empty" in done.stderr
