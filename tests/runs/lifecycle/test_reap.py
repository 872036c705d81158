"""A run whose process died at any place of its end is closed in its folder, once, as what it was."""

import json
import threading

import pytest

from flowerml.events import Ended, Metrics, Status
from flowerml.journal import Journal, RunStarted
from flowerml.runs.lifecycle.attempts import ATTEMPTS, CLAIM, lease_owner
from flowerml.runs.lifecycle.lease import acquire
from flowerml.runs.lifecycle.reap import reap_folder
from flowerml.runs.lifecycle.run_file import RunFile, read_run_file, write_run_file

GONE = 2**22 - 1  # no process has this number


def died(root, status, *, ended=None, released=False):
    """A run's folder as a process has left it that came as far as this."""
    attempt = acquire(root, 60)
    journal = Journal.create(attempt.folder, RunStarted("j" * 32, "flowers", "a", "here"))
    journal.append(Metrics({"val_accuracy": 0.5}, 1))
    if ended is not None:
        journal.append(ended)
    write_run_file(root, RunFile("id", "c" * 64, 11, status))
    path = attempt.folder / CLAIM
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": GONE, "released": released}))


def ends(root):
    newest = max((root / ATTEMPTS).iterdir())
    return [entry.record for entry in Journal(newest).records() if isinstance(entry.record, Ended)]


@pytest.mark.parametrize(
    ("status", "ended", "closed", "reason"),
    [
        ("RUNNING", None, "KILLED", f"its process {GONE} on "),
        ("RUNNING", Ended(Status.FAILED, "the loss is nan"), "FAILED", "the loss is nan"),
        ("RUNNING", Ended(Status.FINISHED), "FINISHED", ""),
        ("FINISHED", None, "FINISHED", ""),
        ("KILLED", None, "KILLED", f"its process {GONE} on "),
    ],
)
def test_it_is_closed_once_and_as_what_it_was(tmp_path, status, ended, closed, reason):
    died(tmp_path, status, ended=ended)
    found = reap_folder(tmp_path)
    assert found.status == closed == read_run_file(tmp_path).status
    assert found.reason.startswith(reason)
    (end,) = ends(tmp_path)
    assert (end.status, end.reason) == (closed, found.reason)
    assert lease_owner(tmp_path).released
    assert reap_folder(tmp_path) is None
    assert len(list((tmp_path / ATTEMPTS).iterdir())) == 2


@pytest.mark.parametrize("released", [True, False])
def test_one_that_came_to_its_end_is_left_alone(tmp_path, released):
    died(tmp_path, "FINISHED", ended=Ended(Status.FINISHED), released=released)
    assert reap_folder(tmp_path) is None
    assert [path.name for path in (tmp_path / ATTEMPTS).iterdir()] == ["0001"]


def test_one_that_is_worked_on_is_left_alone(tmp_path):
    died(tmp_path, "RUNNING")
    acquire(tmp_path, 60)
    assert reap_folder(tmp_path) is None
    assert read_run_file(tmp_path).status == "RUNNING"


def test_who_begins_while_a_dead_run_is_being_closed_waits_for_that(tmp_path):
    """Every start closes what is dead: of several that are started again together one may meet another's run."""
    root = tmp_path / "run"
    acquire(root, 60).release()
    closer = acquire(root, 60, closes=True)
    let_go = threading.Timer(0.3, closer.release)
    let_go.start()
    mine = acquire(root, 60)
    let_go.join()
    assert (mine.owner.token, mine.previous) == (3, root / ATTEMPTS / "0002.fenced")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_one_that_was_to_replace_a_run_and_never_began_is_not_taken_for_that_run(tmp_path, status):
    """`--overwrite`, killed before its first word: the folder is still the earlier run's."""
    died(tmp_path, status, ended=Ended(Status(status)), released=True)
    before = read_run_file(tmp_path)
    attempt = acquire(tmp_path, 60)
    Journal.create(attempt.folder, RunStarted("k" * 32, "flowers", "a", "here"))
    path = attempt.folder / CLAIM
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": GONE}))
    found = reap_folder(tmp_path)
    assert (found.status, found.run_id) == ("KILLED", ""), "its own id, which no server has given yet"
    assert [end.status for end in ends(tmp_path)] == ["KILLED"]
    assert read_run_file(tmp_path) == before
    assert reap_folder(tmp_path) is None
