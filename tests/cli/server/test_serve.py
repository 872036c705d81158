"""`flowerml serve`: a tracking server that asks for name and password, and that leaves nothing behind."""

import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.tracking.server.allowed_hosts import host_options
from flowerml.tracking.server.artifacts import checked_destination
from flowerml.tracking.server.login import PASSWORD, login_environment
from flowerml.tracking.server.store import prepare_store

ELSEWHERE = "Choose another folder, or free space or permissions there"
ANOTHER_NAME = "choose another name, without unprintable characters, ?, .key and .ini"
NO_LOGIN = "{} is for a server with log-in: add --login, or leave it out"
SECRET = "a word and # 100% more"  # no character of it may matter


def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("eleven char")
    (tmp_path / "enough").write_text("twelve chars")
    users = tmp_path / "mlflow-users.db"
    new = (
        f"{users} is new, so the account admin is created, and it needs a password: put it into a file for"
        f" --admin-password-file, or into {PASSWORD}"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, line in {
            "--port x": "--port is 'x'. Allowed: whole number, 1 to 65535",
            "--workers 0": "--workers is '0'. Allowed: whole number, 1 to 64",
            "--store http://a:1": (
                "--store http://a:1: that is a server already. Give a database: sqlite:///… or postgresql://…"
            ),
            "--host 0.0.0.0": new,
            "--login": new,
            "--login --permission ALL": "--permission is 'ALL'. Allowed: READ, USE, EDIT, MANAGE, NO_PERMISSIONS",
            "--login --admin-password-file nix": "--admin-password-file nix: No such file or directory",
            "--login --admin-password-file short": (
                "the password of the account admin is too short: 12 characters or more"
            ),
            "--login --admin-password-file enough --users short/users.db": (
                f"can't write {tmp_path}/short/users.db: {tmp_path}/short is a file. {ELSEWHERE}"
            ),
            "--login --admin-password-file enough --users .": (
                f"can't write {tmp_path}: it is a folder. Name a file in it"
            ),
            "--login --users /": "--users /: it is a folder. Name a file in it",
            "--login --users a?b": f"--users {tmp_path}/a?b: {ANOTHER_NAME}",
            "--login --users users.key": f"--users {tmp_path}/users.key: {ANOTHER_NAME}",
            "--users users.db": NO_LOGIN.format("--users"),
            "--admin-password-file enough": NO_LOGIN.format("--admin-password-file"),
            "--permission READ": NO_LOGIN.format("--permission"),
            "--artifacts short/art": f"can't write short/art/…: Not a directory. {ELSEWHERE}",
            "--artifacts http://a/b": (
                "--artifacts is 'http://a/b'. Allowed: a folder, or a bucket that MLflow stores in, such as s3://…"
            ),
            "--artifacts nowhere://a": (
                "--artifacts is 'nowhere://a'. Allowed: a folder, or a bucket that MLflow stores in, such as s3://…"
            ),
            "--allowed-hosts lab.example.org,http://lab": (
                "--allowed-hosts has 'http://lab'. Allowed: names and addresses such as lab.example.org, with a port or"
                " * where wanted, and commas between them"
            ),
            f"--login --admin-password-file enough --host {'x' * 64}": (
                f"--port 5000 on {'x' * 64}: this can't be a host's name. Give another --host"
            ),
            f"--port {port}": (
                f"--port {port} on 127.0.0.1: Address already in use. Give another, or stop what listens there"
            ),
        }.items():
            assert run_command("serve", words.split()) == 2
            assert capsys.readouterr() == ("", f"error: {line}\n")
        assert run_command("serve", ["--artifacts", ""]) == 2
        assert capsys.readouterr().err.startswith("error: --artifacts is ''. Allowed: a folder")


def test_what_a_login_needs_is_for_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    first = login_environment(tmp_path / "users.db", None, "READ")
    for name in ("users.db", "users.key", "users.ini"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert SECRET not in (tmp_path / "users.ini").read_text()
    assert first[PASSWORD] == SECRET
    (tmp_path / "users.db").write_text("accounts")
    monkeypatch.delenv(PASSWORD)
    again = login_environment(tmp_path / "users.db", None, "READ")
    assert PASSWORD not in again, "the accounts are there"
    assert again["MLFLOW_FLASK_SERVER_SECRET_KEY"] == first["MLFLOW_FLASK_SERVER_SECRET_KEY"], "sessions stay valid"


def status(address, headers=(), data=None):
    """The status of a request for an experiment; with `data` of one that changes something."""
    path = "experiments/create" if data else "experiments/get?experiment_id=0"
    sent = {**dict(headers), **({"Content-Type": "application/json"} if data else {})}
    try:
        with urlopen(Request(f"{address}/api/2.0/mlflow/{path}", data, sent)) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_the_experiment_that_mlflow_makes_keeps_its_artifacts_at_the_server(tmp_path, monkeypatch):
    """Not in a folder of the machine that a client runs on."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'team.db'}")
    prepare_store()
    assert MlflowClient().get_experiment("0").artifact_location == "mlflow-artifacts:/0"


def test_a_server_for_others_is_reached_by_this_machines_names_and_addresses():
    options = host_options("0.0.0.0", 5000, None)
    hosts, origins = options[1].split(","), options[3].split(",")
    assert {"localhost:*", socket.gethostname(), f"{socket.gethostname()}:5000"} <= {*hosts}
    addresses = [
        one.address for found in psutil.net_if_addrs().values() for one in found if one.family == socket.AF_INET
    ]
    assert {f"{one}:5000" for one in addresses if not one.startswith("127.")} <= {*hosts}
    assert not any("0.0.0.0" in one or "*" in one for one in origins)
    assert {f"http://{socket.gethostname()}:5000", f"https://{socket.gethostname()}"} <= {*origins}


def test_a_server_for_this_machine_alone_is_reached_by_loopback():
    assert host_options("127.0.0.1", 5000, None) == ["--allowed-hosts", "localhost,localhost:*,127.0.0.1,127.0.0.1:*"]


def test_names_that_were_given_count_alone():
    allowed, hosts, cors, origins = host_options("0.0.0.0", 5000, ["lab.example.org", " "])
    assert (allowed, cors) == ("--allowed-hosts", "--cors-allowed-origins")
    assert hosts == "localhost,localhost:*,127.0.0.1,127.0.0.1:*,lab.example.org"
    assert origins == "http://lab.example.org,https://lab.example.org"


@pytest.mark.slow
def test_a_server_with_login(tmp_path, empty_store, monkeypatch):
    shutil.copy(empty_store, tmp_path / "team.db")
    (tmp_path / "password").write_text(f"{SECRET}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = f"--store sqlite:///team.db --port {port} --workers 1 --login --admin-password-file password"
    words += " --allowed-hosts lab.example.org"
    command = [sys.executable, "-m", "flowerml.cli.main", "serve", *words.split()]
    said, address = tmp_path / "said", f"http://127.0.0.1:{port}"
    with said.open("w") as out, subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out) as process:
        deadline = time.monotonic() + 120
        while f"{address} answers, with log-in" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert status(address) == 401
        assert status(address, {"Host": "elsewhere.example"}) == 403
        # As a page sends it that a colleague has opened under that name, and as one of a stranger's.
        own = {"Host": "lab.example.org", "Origin": "http://lab.example.org"}
        assert status(address, own, b"{}") == 401
        assert status(address, {**own, "Origin": "http://elsewhere.example"}, b"{}") == 403
        client = MlflowClient(address)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET.upper())
        with pytest.raises(MlflowException, match="authenticated"):
            client.get_experiment("0")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
        run_id = client.create_run(client.create_experiment("flowers")).info.run_id
        client.log_text(run_id, "four thousand photos", "note.txt")
        assert [one.path for one in client.list_artifacts(run_id)] == ["note.txt"]
        assert next((tmp_path / "mlartifacts").rglob("note.txt")).read_text() == "four thousand photos"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert SECRET not in said.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("place", ["s3://bucket/runs", "gs://bucket", "wasbs://c@a.blob.core.windows.net/x", "art"])
def test_a_bucket_is_taken_also_where_its_package_is_not_installed(place, tmp_path, monkeypatch):
    """MLflow's server itself says which package it lacks."""
    monkeypatch.chdir(tmp_path)
    assert checked_destination(place) == place
