"""The study: what it draws, whom it is refused to, the database that it lives in."""

import subprocess
import sys

import pytest
from sqlalchemy.exc import OperationalError

from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.sweep.space import range_dimensions
from flowerml.sweep.storage import call_with_retries
from flowerml.sweep.study import open_study, suggest
from flowerml.sweep.trials import enqueue_missing
from tests.conftest import ROOT

ABOUT = {"model": "convnextv2_atto", "given": "{}"}
OPTIONS = {"maximize": True, "pruner": "none", "epochs": 3, "seed": 11}
RANGES = range_dimensions(Family.CNN, {})


def drawn(address, count, workers, seed=11):
    """What the trials of a study draw, worked off by some workers in turn."""
    studies = [open_study(address, "s", ABOUT, **{**OPTIONS, "seed": seed}) for _ in range(workers)]
    enqueue_missing(studies[0], count, None)
    chosen = []
    for number in range(count):
        studies[number % workers].optimize(lambda trial: chosen.append(suggest(trial, RANGES)) or 0.1, n_trials=1)
    return [tuple(point.values()) for point in chosen]


@pytest.mark.slow
def test_what_a_trial_draws_hangs_on_the_seed_and_its_number_not_on_who_runs_it(tmp_path):
    """The first ten are drawn at random, the others by what those have shown."""
    first = drawn(f"sqlite:///{tmp_path / 'a.db'}", 12, workers=3)
    assert len(set(first)) == 12, "workers with one seed draw different points"
    assert drawn(f"sqlite:///{tmp_path / 'b.db'}", 12, workers=1) == first
    assert not set(drawn(f"sqlite:///{tmp_path / 'c.db'}", 3, workers=1, seed=12)) & set(first)


def test_a_study_of_other_settings_is_refused_with_what_differs(tmp_path):
    address = f"sqlite:///{tmp_path / 'sweeps.db'}"
    open_study(address, "s", ABOUT, **OPTIONS)
    with pytest.raises(
        UserError, match=r"study 's' in sqlite:.* is of other settings \(model convnextv2_atto there, clip_vits32 here"
    ):
        open_study(address, "s", {**ABOUT, "model": "clip_vits32"}, **OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    ["nonsense", "sqlite:////no/such/folder/x.db", "postgresql+psycopg2://me:se@cret@127.0.0.1:1/x", "mongo://x"],
)
def test_a_storage_that_can_not_be_had_is_one_line_without_its_password(address):
    with pytest.raises(UserError, match="--storage") as caught:
        open_study(address, "s", ABOUT, **OPTIONS)
    assert "\n" not in str(caught.value)
    assert "se@cret" not in str(caught.value)


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_all_have_it(tmp_path):
    """Optuna makes its tables without a lock."""
    address = f"sqlite:///{tmp_path / 'new.db'}"
    code = (
        f"from flowerml.sweep.study import open_study; import sys; sys.stdin.read(1); open_study({address!r}, 's',"
        f" {ABOUT}, **{OPTIONS})"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdin.write("x")
        process.stdin.flush()
    for process in started:
        told = process.communicate(timeout=120)[1]
        assert process.returncode == 0, told


def test_a_database_that_comes_back_is_waited_for_and_one_that_does_not_is_one_line(capsys):
    answers = [OperationalError("SELECT 1", {}, Exception("server closed the connection")), None]

    def ask():
        if (answer := answers.pop(0)) is not None:
            raise answer
        return 7

    assert call_with_retries("sqlite:///x.db", ask) == 7
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert "it answers again" in told
    answers = [OperationalError("SELECT 1", {}, Exception("gone"))] * 9
    with pytest.raises(UserError, match="can't be had"):
        call_with_retries("sqlite:///x.db", ask, 0.0)
