"""How a run ends: in the right state, in its folder and for whoever hears of it, whatever ends it."""

import json
import signal

import pytest

from flowerml.data.workers.errors import DataLoaderDied
from flowerml.errors import LeaseLost, RunFailed, Stopped, UserError
from flowerml.events import Ended, MemoryRecorder, Status
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.stop_request import StoppedImmediately, StopRequest
from flowerml.runs.lifecycle.termination import finalize_run_status, finalize_status


@pytest.fixture
def recorder():
    return MemoryRecorder("id")


def ended_by(error, recorder, asked=None, states=None):
    """What comes out where the run was `asked` to stop and then raised `error`."""
    stopping = StopRequest()
    if asked:
        stopping.request(asked)
    with (
        pytest.raises(BaseException) as caught,
        finalize_status(recorder, (states if states is not None else []).append, stopping),
    ):
        raise error
    return type(caught.value)


@pytest.mark.parametrize(
    ("error", "asked", "end", "raised"),
    [
        (UserError("bad"), None, Ended(Status.FAILED, "bad"), RunFailed),
        (RunFailed("not finite"), None, Ended(Status.FAILED, "not finite"), RunFailed),
        (ZeroDivisionError("x"), None, Ended(Status.FAILED, "ZeroDivisionError: x"), ZeroDivisionError),
        (KeyboardInterrupt(), None, Ended(Status.KILLED, "stopped by Ctrl-C"), KeyboardInterrupt),
        (
            Stopped("stopped by SIGTERM"),
            "stopped by SIGTERM",
            Ended(Status.KILLED, "stopped by SIGTERM"),
            KeyboardInterrupt,
        ),
        (StoppedImmediately("x"), "stopped by SIGTERM", Ended(Status.KILLED, "stopped by SIGTERM"), KeyboardInterrupt),
        (
            DataLoaderDied("signal 15"),
            "stopped by SIGTERM",
            Ended(Status.KILLED, "stopped by SIGTERM"),
            KeyboardInterrupt,
        ),
        (
            UserError("checkpoint: no space left"),
            "stopped by SIGTERM",
            Ended(Status.KILLED, "stopped by SIGTERM, and meanwhile: checkpoint: no space left"),
            KeyboardInterrupt,
        ),
    ],
)
def test_each_end_has_its_state_and_reason(recorder, error, asked, end, raised):
    states = []
    assert ended_by(error, recorder, asked, states) is raised
    assert recorder.events == [end]
    assert states == [end.status.value]


def test_of_a_run_that_was_taken_over_nothing_is_said(recorder):
    states = []
    assert ended_by(LeaseLost("taken over"), recorder, "stopped by SIGTERM", states) is LeaseLost
    assert recorder.events == states == []


def test_checkpoints_go_once_the_folder_says_finished(recorder, tmp_path):
    """Killed in between, it is a finished run with some files too many, not an unfinished one without a checkpoint."""
    seen = []
    with finalize_run_status(
        tmp_path,
        "c" * 64,
        11,
        recorder,
        StopRequest(),
        lambda: seen.append((read_run_file(tmp_path).status, list(recorder.events))),
    ):
        assert read_run_file(tmp_path).status == "RUNNING"
    assert seen == [("FINISHED", [Ended(Status.FINISHED)])]
    assert recorder.events == [Ended(Status.FINISHED)]


def test_what_can_not_be_tidied_up_leaves_the_run_finished(recorder, tmp_path, capsys):
    def refuses():
        raise UserError("permission denied")

    with finalize_run_status(tmp_path, "c" * 64, 11, recorder, StopRequest(), refuses):
        pass
    assert recorder.events == [Ended(Status.FINISHED)]
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "FINISHED"
    assert "warning: the run is FINISHED, but not all could be tidied up: permission denied" in capsys.readouterr().err


class Interrupted(MemoryRecorder):
    """Somebody sends a signal while the end is being written, or delivered."""

    def __init__(self, number, *, delivered, pause=0.0):
        super().__init__("id")
        self.number, self.delivered, self.pause, self.stopping = number, delivered, pause, StopRequest()
        self.closed = False

    def record(self, event):
        if not self.delivered:
            self.interrupt()
        super().record(event)

    def close(self):
        if self.delivered:
            self.interrupt()
        self.closed = True

    def interrupt(self):
        self.stopping._first_signal -= self.pause
        signal.raise_signal(self.number)


@pytest.mark.parametrize("delivered", [False, True])
def test_the_second_signal_of_one_ctrl_c_finds_the_run_ending(tmp_path, delivered):
    """The terminal's SIGINT ends it, and `mlflow run` sends SIGTERM right behind: that must not cut its end short."""
    recorder = Interrupted(signal.SIGTERM, delivered=delivered)
    with pytest.raises(KeyboardInterrupt), finalize_run_status(tmp_path, "c" * 64, 11, recorder, recorder.stopping):
        signal.raise_signal(signal.SIGINT)
    assert recorder.events == [Ended(Status.KILLED, "stopped by Ctrl-C")]
    assert read_run_file(tmp_path).status == "KILLED"
    assert recorder.closed


@pytest.mark.parametrize("delivered", [False, True])
def test_a_later_one_ends_the_waiting_for_the_server_at_most_and_the_state_is_right(tmp_path, delivered):
    recorder = Interrupted(signal.SIGTERM, delivered=delivered, pause=1.1)
    with pytest.raises(KeyboardInterrupt), finalize_run_status(tmp_path, "c" * 64, 11, recorder, recorder.stopping):
        signal.raise_signal(signal.SIGTERM)
    assert recorder.events == [Ended(Status.KILLED, "stopped by SIGTERM")]
    assert read_run_file(tmp_path).status == "KILLED"
    assert recorder.closed is not delivered
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("delivered", [False, True])
def test_a_signal_while_a_finished_run_is_written_down_or_delivered_leaves_it_finished(tmp_path, delivered):
    recorder = Interrupted(signal.SIGTERM, delivered=delivered)
    with pytest.raises(KeyboardInterrupt), finalize_run_status(tmp_path, "c" * 64, 11, recorder, recorder.stopping):
        pass
    assert recorder.events == [Ended(Status.FINISHED)]
    assert read_run_file(tmp_path).status == "FINISHED"
    assert recorder.closed is not delivered


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_its_checkpoints_are_removed_leaves_it_finished(recorder, tmp_path, number):
    """Without checkpoints, a KILLED run would be trained again from its beginning, over a complete result."""

    def interrupted():
        signal.raise_signal(number)

    with (
        pytest.raises(KeyboardInterrupt),
        finalize_run_status(tmp_path, "c" * 64, 11, recorder, StopRequest(), interrupted),
    ):
        pass
    assert recorder.events == [Ended(Status.FINISHED)]
    assert read_run_file(tmp_path).status == "FINISHED"
