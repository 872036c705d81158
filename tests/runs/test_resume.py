"""Runs that were interrupted and started again: they end as one that never was, with everything in its place."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from flowerml.errors import UserError
from flowerml.events import Tags
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.conftest import ROOT
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole, at_the_end, epoch

OFTEN = {"checkpoint_every_steps": 1, "keep_checkpoints": 100}


@pytest.mark.slow
@pytest.mark.parametrize("at", [epoch(2), at_the_end], ids=["epoch 2", "figures"])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(begin, small_run, tmp_path, capsys, at):
    """At an epoch's end its checkpoint is not written yet: the epoch's last steps are done again."""
    finished, whole = small_run
    begin(at, checkpoint_every_steps=2)
    assert read_run_file(tmp_path / "out").status == "KILLED"
    capsys.readouterr()
    recorder = begin()
    assert re.search(
        r"earlier try of these settings ended KILLED; it goes on after (step \d of )?epoch \d", capsys.readouterr().err
    )
    assert_whole(tmp_path / "out", finished)
    names = ("train_loss", "val_loss", "val_accuracy", "grad_norm", "lr_head", "best_val_accuracy", "best_epoch")
    assert [recorder.metric(name) for name in names] == [whole.metric(name) for name in names], (
        "the new run's curves are whole"
    )


def test_from_the_middle_of_an_epoch_whatever_stands_beside_it(begin, small_run, tmp_path):
    """A later best.pth and history.csv stand there, of epochs that are done again; workers may be others."""
    begin(epoch(3), **OFTEN)
    for path in (tmp_path / "out" / "state").iterdir():
        if path.name > "epochs-0001-steps-000002":
            shutil.rmtree(path)
    (tmp_path / "out" / "best.pth").write_bytes(b"of another time")
    begin(workers=1, accumulate=1)
    assert_whole(tmp_path / "out", small_run[0])


@pytest.mark.slow
def test_interrupted_twice(begin, small_run, tmp_path):
    begin(epoch(2), checkpoint_every_steps=1)
    begin(epoch(3))
    begin()
    assert_whole(tmp_path / "out", small_run[0])


@pytest.mark.slow
def test_the_last_one_damaged_is_named_and_the_one_before_used(begin, small_run, tmp_path, capsys):
    begin(at_the_end)
    last = max((tmp_path / "out" / "state").iterdir())
    (last / "state.pt").write_bytes((last / "state.pt").read_bytes()[:-1])
    begin()
    told = capsys.readouterr().err
    assert f"warning: {last}: state.pt" in told
    assert "it goes on after epoch 2" in told
    assert_whole(tmp_path / "out", small_run[0])


def test_all_damaged_stops_before_anything_is_begun(begin, tmp_path):
    begin(at_the_end)
    for path in (tmp_path / "out" / "state").iterdir():
        (path / "manifest.json").unlink()
    before = (tmp_path / "out" / "run.json").read_bytes()
    with pytest.raises(
        UserError, match=r"no checkpoint is whole \(.*epochs-0003.*epochs-0002.*--resume never.*--overwrite"
    ) as caught:
        begin()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out" / "run.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"resume": "never"}, {"overwrite": True}])
def test_never_and_overwrite_start_over_also_where_all_is_damaged(begin, small_run, tmp_path, capsys, changes):
    begin(epoch(3))
    for path in (tmp_path / "out" / "state").iterdir():
        (path / "manifest.json").unlink()
    begin(**changes)
    told = capsys.readouterr().err
    assert ("it starts over (--resume never)" if "resume" in changes else "is replaced (--overwrite)") in told
    assert_whole(tmp_path / "out", small_run[0])


def test_killed_before_the_first_checkpoint_starts_over_and_says_so(begin, small_run, tmp_path, capsys):
    begin(lambda event: isinstance(event, Tags))
    begin()
    assert "ended KILLED before its first checkpoint; it starts over" in capsys.readouterr().err
    assert_whole(tmp_path / "out", small_run[0])


def test_a_lost_run_json_does_not_cost_the_checkpoints(begin, small_run, tmp_path, capsys):
    begin(at_the_end, val_split=0, stop_epoch=2)
    (tmp_path / "out" / "run.json").unlink()
    (tmp_path / "out" / "best.pth").unlink()
    begin(val_split=0, stop_epoch=2)
    assert "it goes on after epoch 2" in capsys.readouterr().err


def test_other_settings_are_refused_with_what_differs(begin, tmp_path):
    begin(epoch(1))
    with pytest.raises(UserError) as caught:
        begin(lr_head=0.002, seed=12, focal_gamma=2)
    line = str(caught.value)
    assert "holds a run of other settings (" in line
    assert all(
        words in line
        for words in ("lr_head 0.003 there, 0.002 here", "seed 11 there, 12 here", "focal_gamma 0.0 there, 2.0 here")
    )
    assert "--overwrite" in line
    with pytest.raises(UserError, match=r"and \d more"):
        begin(epochs=4, dropout=0.1, mixup=0, cutmix=0, randaugment=0)
    with pytest.raises(UserError, match=r"split [0-9a-f]{8} there, [0-9a-f]{8} here"):
        begin(split_seed=5)
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    (tmp_path / "out" / "settings.json").write_text(json.dumps({"settings": settings["settings"]}))
    with pytest.raises(UserError, match="which ones can't be read any more"):
        begin(lr_head=0.002)


@pytest.mark.parametrize("keep", [1, 3])
def test_no_more_checkpoints_lie_there_than_were_asked_for(begin, tmp_path, keep):
    """But for the moment between a new one's coming and the oldest one's going: there are never fewer."""
    counts = []

    def count(event):
        counts.append(len(list((tmp_path / "out").glob("state/epochs-*"))))
        return epoch(3)(event)

    begin(count, checkpoint_every_steps=1, keep_checkpoints=keep)
    assert keep <= max(counts) <= keep + 1
    assert len(list((tmp_path / "out").glob("state/*"))) == keep


PROGRAM = """
    import sys
    from flowerml.events import MemoryRecorder
    from flowerml.runs.train import run_training
    from flowerml.settings import resolve
    settings, _ = resolve(dict(word.split("=", 1) for word in sys.argv[1:]))
    run_training(settings, lambda *_: MemoryRecorder("killed"))
"""


def kill_at(flowers, folder, place, delay, **changes):
    """Start the run in a process of its own, and kill -9 it `delay` seconds after a checkpoint as late as `place` has
    appeared.
    """
    words = {**SMALL, "dropout": 0.2, "train_dir": flowers, "output_dir": folder, **changes}
    line = [sys.executable, "-c", textwrap.dedent(PROGRAM), *(f"{name}={value}" for name, value in words.items())]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while process.poll() is None and not any(path.name >= place for path in folder.glob("state/epochs-*")):
        time.sleep(0.005)
    time.sleep(delay)
    assert process.poll() is None, process.stderr.read().decode()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kill_and_resume(begin, flowers, folder, finished, seed):
    draw = random.Random(seed)
    place = f"epochs-{draw.randrange(2):04d}-steps-{draw.randrange(1, 4):06d}"
    kill_at(flowers, folder, place, draw.random() * 0.1, checkpoint_every_steps=1)
    assert read_run_file(folder).status == "RUNNING"
    begin(checkpoint_every_steps=1)
    assert_whole(folder, finished)


@pytest.mark.slow
def test_killed_by_the_system_and_resumed(begin, flowers, small_run, tmp_path, capsys):
    kill_and_resume(begin, flowers, tmp_path / "out", small_run[0], seed=1)
    assert "an earlier try of these settings was cut off; it goes on after" in capsys.readouterr().err
