"""Tracking stores that refuse, or do not answer who needs an answer, and output folders that can not be written to, one
row each.

A training goes on without an answer: tests/cli/server/test_sync.py.
"""

import pytest

from tests.cli.bad_input import damage as spoil
from tests.cli.bad_input import rows as bad
from tests.cli.bad_input.rows import LONG, Case

ELSEWHERE = "Choose another folder, or free space or permissions there"
NO_KIND = (
    "is of a kind that is not taken. Allowed: http://HOST:PORT, https://HOST, sqlite:///FILE.db,"
    " postgresql+psycopg2://USER@HOST/DATABASE. Set MLFLOW_TRACKING_URI to one of these"
)
ADDRESS = "set MLFLOW_TRACKING_URI to the address of one, with its path if it has one"
NO_ANSWER = "does not answer (…): start it, or set MLFLOW_TRACKING_URI"
REFUSED = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
LATIN = "'caf\udce9'"  # what a command line in Latin-1 is for Python

TRACKERS = {
    "a store in memory": Case(
        "select --family cnn",
        "the MLflow tracking store sqlite:// names no file. Allowed: http://HOST:PORT, https://HOST, sqlite:///FILE.db,"
        " postgresql+psycopg2://USER@HOST/DATABASE",
        env={"MLFLOW_TRACKING_URI": "sqlite://"},
    ),
    "nobody listens": Case(
        "select --family cnn", f"the MLflow tracking store http://127.0.0.1:1 {NO_ANSWER}", env=REFUSED
    ),
    "eval: nobody listens": Case(
        "eval --checkpoint model.pth",
        f"the MLflow tracking store http://127.0.0.1:1 {NO_ANSWER}",
        spoil.changed(),
        env=REFUSED,
    ),
    "a password in the address": Case(
        "select --family cnn",
        "the MLflow tracking store http://***@127.0.0.1:1 does not answer (Connection refused): start it, or set"
        " MLFLOW_TRACKING_URI",
        env=REFUSED | {"MLFLOW_TRACKING_URI": "http://team:secret@127.0.0.1:1"},
        hidden="secret",
    ),
    "an unknown kind of address": Case(
        "train",
        f"the MLflow tracking store gopher://flowers {NO_KIND}",
        env={"MLFLOW_TRACKING_URI": "gopher://flowers"},
    ),
    "a folder of the old kind": Case(
        "train", f"the MLflow tracking store mlruns {NO_KIND}", env={"MLFLOW_TRACKING_URI": "mlruns"}
    ),
    "a database that is a text": Case(
        "train",
        "the MLflow tracking store sqlite:///text.db is no database (file is not a database): name another file in"
        " MLFLOW_TRACKING_URI, or move this one away",
        spoil.with_file("text.db", b"not a database " * 1000),
        env={"MLFLOW_TRACKING_URI": "sqlite:///text.db"},
    ),
    "a database where no file can be": Case(
        "train",
        "the MLflow tracking store sqlite:////proc/none/mlflow.db can't be opened: the folder /proc/none can't be made:"
        " make it, or name a file elsewhere in MLFLOW_TRACKING_URI",
        env={"MLFLOW_TRACKING_URI": "sqlite:////proc/none/mlflow.db"},
    ),
    "a name that does not resolve": Case(
        "select --family cnn",
        "the MLflow tracking store http://nowhere.invalid has a host name that is not known (…): check the name in"
        " MLFLOW_TRACKING_URI, and the network",
        env=REFUSED | {"MLFLOW_TRACKING_URI": "http://nowhere.invalid"},
    ),
    "a server that hangs": Case(
        "select --family cnn",
        "the MLflow tracking store http://***@127.0.0.1:… does not answer (no answer in time): start it, or set"
        " MLFLOW_TRACKING_URI",
        spoil.answering(0),
        env={"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        hidden="secret",
    ),
    "a server that is ill": Case(
        "select --family cnn",
        "the MLflow tracking store http://***@127.0.0.1:… answers with an error (HTTP 503 Service Unavailable, each"
        " time): look at the server's log, or set MLFLOW_TRACKING_URI to another store",
        spoil.answering(503),
        env={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        hidden="secret",
    ),
    "some other server": Case(
        "train",
        f"the MLflow tracking store http://***@127.0.0.1:… is no MLflow server (HTTP 404 Not Found): {ADDRESS}",
        spoil.answering(404),
    ),
    "a web page": Case(
        "train",
        "the MLflow tracking store http://***@127.0.0.1:… is no MLflow server (what came is not from MLflow):"
        f" {ADDRESS}",
        spoil.answering(200),
    ),
    "a wrong password": Case(
        "train",
        "the MLflow tracking store http://***@127.0.0.1:… wants a login, or another one (HTTP 401 Unauthorized): set"
        " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a database: in its address)",
        spoil.answering(401),
        hidden="secret",
    ),
    "a Postgres that is not there": Case(
        "select --family cnn",
        "the MLflow tracking store postgresql+psycopg2://***@127.0.0.1:1/mlflow does not answer (…Connection refused):"
        " start it, or set MLFLOW_TRACKING_URI",
        env={"MLFLOW_TRACKING_URI": "postgresql+psycopg2://team:secret@127.0.0.1:1/mlflow"},
        hidden="secret",
    ),
    "a driver that is not there": Case(
        "train",
        "the MLflow tracking store mysql://***@127.0.0.1:1/mlflow needs the Python package 'MySQLdb': install it, or"
        " name another driver (postgresql+psycopg2://…)",
        env={"MLFLOW_TRACKING_URI": "mysql://team:secret@127.0.0.1:1/mlflow"},
        hidden="secret",
    ),
    "a folder for a database": Case(
        "train",
        "the MLflow tracking store sqlite:///flowers can't be opened: …flowers is a folder: name a file in it"
        " (sqlite:///…flowers/mlflow.db)",
        env={"MLFLOW_TRACKING_URI": "sqlite:///flowers"},
    ),
    "a read-only database": Case(
        "train",
        "the MLflow tracking store sqlite:///disk/mlflow.db can't be written (attempt to write a readonly database):"
        " make the file and its folder writable, or set MLFLOW_TRACKING_URI to another store",
        spoil.read_only_store,
        env={"MLFLOW_TRACKING_URI": "sqlite:///disk/mlflow.db"},
    ),
    "a deleted experiment": Case(
        "train",
        "the MLflow experiment 'flowers' was deleted: restore it (mlflow experiments restore) or choose another"
        " --experiment",
        spoil.deleted_experiment,
    ),
    "eval: a deleted experiment": Case(
        "eval --checkpoint model.pth",
        "the MLflow experiment 'flowers' was deleted: restore it (mlflow experiments restore)",
        spoil.deleted_experiment,
    ),
    "an experiment's name too long": Case(
        f"train --experiment {LONG}{LONG}", "--experiment is '…'. Allowed: text, up to 256 characters, or auto"
    ),
    "a run that is not there": Case(
        "train",
        f"MLFLOW_RUN_ID {'0' * 32} is no run of the MLflow tracking store sqlite:///…/mlflow.db: unset it, or set "
        "MLFLOW_TRACKING_URI to the store that has it",
        env={"MLFLOW_RUN_ID": "0" * 32},
    ),
    "a run name in Latin-1": Case(f"train --run-name {LATIN}", r"--run-name is 'caf\udce9'.…UTF-8…"),
}

PLACES = {
    "out: a file": Case("train", "…out is a file…", spoil.with_file("out")),
    "out: below a file": Case(
        "train --output-dir file/out", f"can't write file/out/…: Not a directory. {ELSEWHERE}", spoil.with_file("file")
    ),
    "out: where nothing can be made": Case(
        "train --output-dir /proc/out", f"can't write /proc/out/…: No such file or directory. {ELSEWHERE}"
    ),
    "out: newline in the name, below a file": Case(
        "train --output-dir 'my\nfile/out'",
        rf"can't write my\nfile/out/…: Not a directory. {ELSEWHERE}",
        spoil.with_file("my\nfile"),
    ),
    "campaign: an experiment's name too long": Case(
        f"campaign --plan demo --train-dir flowers --experiment {LONG}",
        f"--experiment is {LONG!r}. Allowed: text, up to 256 characters, or auto",
    ),
    "campaign: nothing as pictures": Case(
        "campaign --plan demo --train-dir ''", "--train-dir is nothing. Allowed: a path…"
    ),
    "campaign: the runs' root in Latin-1": Case(
        f"campaign --plan demo --train-dir flowers --runs-root {LATIN}",
        "--runs-root is 'caf\\udce9'. Allowed: text in UTF-8, …",
    ),
    "campaign: nowhere to deliver to": Case(
        "campaign --plan demo --train-dir flowers --output-dir file/out",
        f"can't write file/out/…: Not a directory. {ELSEWHERE}",
        spoil.with_file("file"),
    ),
    "out: a name too long": Case(
        f"train --output-dir {LONG}", f"can't write {LONG}/…: File name too long. {ELSEWHERE}"
    ),
    "out: in Latin-1": Case(f"train --output-dir {LATIN} --run-name plain", r"--output-dir is 'caf\udce9'.…UTF-8…"),
    "out: read-only": Case(
        "train --output-dir disk/out",
        f"can't write disk/out/…: Read-only file system. {ELSEWHERE}",
        spoil.mounted("ro"),
    ),
    "out: full": Case(
        "train --output-dir disk/out",
        f"can't write disk/out/best.pth: No space left on device (…). {ELSEWHERE}",
        spoil.mounted("size=2m"),
        code=1,
    ),
    "out: a finished run": Case(
        "train",
        "out holds the finished run of just these settings (run …): choose another --output-dir, or replace it with"
        " --overwrite",
        spoil.finished_run,
    ),
    "out: a run of other settings": Case(
        "train --dropout 0.5",
        "out holds a run of other settings (dropout 0.0 there, 0.5 here; configuration …): choose another --output-dir,"
        " or replace it with --overwrite",
        spoil.finished_run,
    ),
    "out: somebody's best.pth": Case(
        "train",
        "out holds a best.pth of unknown origin: choose another --output-dir, or replace it with --overwrite",
        spoil.with_file("out/best.pth", b"weights"),
    ),
    "a loss that is not finite": Case(
        "train --std 1e-38,1e-38,1e-38",
        "the … is nan at epoch 1, step 1, …, pictures …. Lower the learning rate, or look at these pictures",
        code=1,
    ),
    "pictures that vanish": Case(
        "train --train-dir data",
        "a picture can't be read any more: rose/….jpg: No such file or directory",
        spoil.vanishing,
        code=1,
    ),
    "pictures that vanish from another process": Case(
        "train --train-dir data --workers 1",
        "a picture can't be read any more: rose/….jpg: No such file or directory",
        spoil.vanishing,
        code=1,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", bad.rows(TRACKERS | PLACES))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)
