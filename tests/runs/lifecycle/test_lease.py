"""Who may work on a run's folder: one process at a time, whoever was first; and a process that was taken over writes
nothing more.
"""

import json
import os
import shutil
import signal
import threading
import time

import psutil
import pytest

from flowerml.errors import LeaseLost, UserError
from flowerml.files import fenced_writes_to, write_text
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.lease import acquire, clean_fenced, fenced_writes
from flowerml.runs.lifecycle.run_file import clear_folder
from tests.runs.lifecycle.lease_processes import SLEEPER, SLOW, files, start, ten_claim


def test_the_second_one_is_told_who_holds_it(tmp_path):
    with fenced_writes(acquire(tmp_path, 60)):
        with pytest.raises(
            UserError, match=rf"being worked on by process {os.getpid()} on .*attempt 1, last sign of life 0 s ago"
        ) as caught:
            acquire(tmp_path, 60)
        assert caught.value.exit_code == 2
    second = acquire(tmp_path, 60)
    assert second.owner.token == 2
    assert second.previous == tmp_path / "attempts" / "0001.fenced"


def test_a_claim_that_led_to_nothing_leaves_all_as_it_was(tmp_path):
    with fenced_writes(acquire(tmp_path, 60)):
        write_text(tmp_path / "attempts" / "0001" / "journal.jsonl", "mine")
    before = files(tmp_path)
    acquire(tmp_path, 60).withdraw()
    assert files(tmp_path) == before


def test_only_claim_and_journal_stay_of_an_attempt(tmp_path):
    first = acquire(tmp_path, 60)
    with fenced_writes(first):
        first.heartbeat()
        (first.folder / "journal.jsonl").write_text("mine\n")
        (first.folder / "delivered.json").write_text("{}")
        (first.folder / ".state.part").mkdir()
    assert {path.name for path in first.folder.iterdir()} == {"claim.json", "journal.jsonl", "delivered.json"}
    assert lease_owner(tmp_path).released
    second = acquire(tmp_path, 60)
    (second.folder / "journal.jsonl").write_text("mine\nand more\n")
    clean_fenced(second)
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["0002"]


def test_nothing_is_made_in_place_and_nothing_comes_back_once_the_folder_is_taken_away(tmp_path):
    staging = tmp_path / "attempts" / "0001"
    staging.mkdir(parents=True)
    seen = []

    def write(name):
        try:
            write_text(tmp_path / name, name)
        except LeaseLost as error:
            seen.append(str(error))

    with fenced_writes_to(tmp_path, staging):
        write("first.txt")
        staging.rename(staging.with_name("0001.fenced"))
        write("deep/second.txt")
        write("attempts/0001/third.txt")
        thread = threading.Thread(target=write, args=("fourth.txt",))
        thread.start()
        thread.join()
    assert files(tmp_path) == {"first.txt": b"first.txt"}
    assert len(seen) == 3
    assert "another process has taken" in seen[0]
    write_text(tmp_path / "after.txt", "a process's own affair again")


def test_a_dead_process_holds_nothing_and_its_number_used_again_is_another(tmp_path):
    process = start(
        "import sys; from pathlib import Path; from flowerml.runs.lifecycle.lease import acquire;"
        " acquire(Path(sys.argv[1]), 3600)",
        tmp_path,
    )
    process.communicate()
    assert lease_owner(tmp_path).is_dead
    assert not lease_owner(tmp_path).released
    assert acquire(tmp_path, 60).owner.token == 2
    content = json.loads((tmp_path / "attempts" / "0002" / "claim.json").read_text())
    (tmp_path / "attempts" / "0002" / "claim.json").write_text(json.dumps({**content, "born": content["born"] - 100}))
    assert acquire(tmp_path, 60).owner.token == 3


def test_on_another_host_only_the_lease_tells(tmp_path):
    acquire(tmp_path, 60)
    path = tmp_path / "attempts" / "0001" / "claim.json"
    content = {**json.loads(path.read_text()), "host": "elsewhere", "pid": 2**22 - 1}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="on elsewhere"):
        acquire(tmp_path, 60)
    path.write_text(json.dumps({**content, "since": time.time() - 61}))
    assert acquire(tmp_path, 60).owner.token == 2


def test_a_claim_that_can_not_be_read_is_over_once_it_is_old(tmp_path):
    acquire(tmp_path, 60)
    (tmp_path / "attempts" / "0001" / "claim.json").write_text("{")
    with pytest.raises(UserError, match="an unknown host"):
        acquire(tmp_path, 60)
    os.utime(tmp_path / "attempts" / "0001", (time.time() - 61,) * 2)
    assert acquire(tmp_path, 60).owner.token == 2


def test_of_ten_that_claim_at_once_one_wins_and_the_others_are_told(tmp_path):
    ten_claim(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.037])
def test_a_process_stopped_past_its_lease_can_not_write_when_it_wakes(tmp_path, delay):
    sleeper = start(SLEEPER, tmp_path)
    while not (tmp_path / "best.pth").exists():
        assert sleeper.poll() is None, sleeper.stderr.read()
        time.sleep(0.01)
    time.sleep(delay)
    sleeper.send_signal(signal.SIGSTOP)
    with pytest.raises(UserError, match=f"process {sleeper.pid} on"):
        acquire(tmp_path, 1)
    time.sleep(1.1)
    taken = acquire(tmp_path, 1)
    with fenced_writes(taken):
        write_text(tmp_path / "best.pth", "the other's")
        sleeper.send_signal(signal.SIGCONT)
        out, err = sleeper.communicate(timeout=30)
        assert "another process has taken" in out, err
        assert (tmp_path / "best.pth").read_text() == "the other's"
        assert not (tmp_path / "attempts" / "0001").exists()


def test_a_process_may_not_be_looked_at_then_it_lives(tmp_path, monkeypatch):
    acquire(tmp_path, 60)

    def denied(*_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "Process", denied)
    assert not lease_owner(tmp_path).expired


@pytest.mark.parametrize("change", [{"machine": "another start of the system"}, {"machine": ""}])
def test_after_a_new_start_or_in_another_container_a_number_says_nothing(tmp_path, change):
    acquire(tmp_path, 60)
    path = tmp_path / "attempts" / "0001" / "claim.json"
    content = {**json.loads(path.read_text()), **change, "pid": 2**22 - 1}
    path.write_text(json.dumps(content))
    assert not lease_owner(tmp_path).expired
    path.write_text(json.dumps({**content, "since": time.time() - 61}))
    assert lease_owner(tmp_path).expired


@pytest.mark.parametrize("forgotten", [False, True])
def test_one_that_was_slow_does_not_get_a_number_that_was_taken_and_fenced_off_meanwhile(tmp_path, forgotten):
    """Between its look at the folder and its claim another attempt came and went, and one more holds the folder now."""
    late = start(SLOW, tmp_path)
    assert late.stdout.readline() == "looked\n"
    with fenced_writes(acquire(tmp_path, 60)):
        write_text(tmp_path / "attempts" / "0001" / "journal.jsonl", "the first one's\n")
    holding = acquire(tmp_path, 60)
    if forgotten:
        clean_fenced(holding)
        shutil.rmtree(tmp_path / "attempts" / "0001.fenced", ignore_errors=True)
    before = files(tmp_path / "attempts" / "0002")
    out, err = late.communicate("\n\n\n", timeout=30)
    assert f"is being worked on by process {os.getpid()} on" in out, err
    assert files(tmp_path / "attempts" / "0002") == before
    assert [path.name for path in sorted((tmp_path / "attempts").iterdir())] == (
        ["0002"] if forgotten else ["0001.fenced", "0002"]
    )
    with fenced_writes(holding):
        write_text(tmp_path / "best.pth", "mine")


def test_one_that_was_slow_goes_on_where_nobody_is_left(tmp_path):
    late = start(SLOW, tmp_path)
    assert late.stdout.readline() == "looked\n"
    with fenced_writes(acquire(tmp_path, 60)):
        pass
    out, err = late.communicate("\n\n\n", timeout=30)
    assert out.splitlines()[-1] == "2", err


def test_the_journal_of_a_run_that_was_started_over_stays(tmp_path):
    """Something of it may still have to be delivered; what a later attempt has gone on with, that one has."""
    for words in ("run A\n", "run A\nmore\n", "run B\n"):
        with fenced_writes(acquire(tmp_path, 60)) as _:
            (max((tmp_path / "attempts").glob("????")) / "journal.jsonl").write_text(words)
    clean_fenced(acquire(tmp_path, 60))
    assert sorted(path.name for path in (tmp_path / "attempts").iterdir()) == ["0002.fenced", "0003.fenced", "0004"]


def test_what_keeps_a_process_from_letting_go_hides_nothing(tmp_path, capsys):
    attempt = acquire(tmp_path, 60)
    attempt.folder.joinpath("claim.json").unlink()
    attempt.folder.joinpath("claim.json").mkdir()
    with pytest.raises(ValueError, match="what ended it"), fenced_writes(attempt):
        raise ValueError("what ended it")
    assert "let go of it could not be written down" in capsys.readouterr().err


def test_a_number_that_came_again_does_not_let_its_old_owner_write(tmp_path):
    first = acquire(tmp_path, 60)
    fenced = first.folder.with_name("0001.fenced")
    with fenced_writes(first):
        first.folder.rename(fenced)
        shutil.copytree(fenced, first.folder, ignore=lambda *_: [first.staging.name])
        before = files(tmp_path)
        with pytest.raises(LeaseLost):
            write_text(tmp_path / "best.pth", "too late")
    assert files(tmp_path) == before


def test_a_process_that_was_taken_over_removes_nothing_either(tmp_path):
    attempt = acquire(tmp_path, 60)
    with fenced_writes(attempt):
        for name in ("best.pth", "test/best.pth"):
            write_text(tmp_path / name, "old")
        clear_folder(tmp_path)
        clear_folder(tmp_path)
        assert not list(tmp_path.rglob("best.pth"))
        assert not (tmp_path / "test").exists()
        attempt.folder.rename(attempt.folder.with_name("0001.fenced"))
        (tmp_path / "best.pth").write_text("the other's")
        with pytest.raises(LeaseLost):
            clear_folder(tmp_path)
    assert (tmp_path / "best.pth").read_text() == "the other's"
