"""Runs that somebody has ended at the server while they were alive: by the next sign of life they run again, and they
end as they end.
"""

import json

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Ended, Metrics, Status, Tags, now_ms
from flowerml.settings import resolve
from flowerml.tracking import close_stale_runs
from flowerml.tracking.delivery import reap
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.tracking.faulty_server import wait_for

WHY = "its process 1 on h is gone: last sign of life 10 min 00 s ago"


@pytest.fixture
def begun(made, start):
    """A run at work that has said something."""
    asked = {
        "model": "convnextv2_atto",
        "weights": "none",
        "epochs": 10,
        "output_dir": "runs/x",
        "run_name": "x",
        "classes": "a,b",
    }
    recorder = start(resolve(asked)[0], "flowers", "x")
    recorder.record(Tags({"mlflow.note.content": "mine"}))
    recorder.record(Metrics({"val_accuracy": 0.5}, 1))
    wait_for(lambda: "val_accuracy" in state(recorder).data.metrics)
    return recorder


def state(recorder):
    return MlflowClient().get_run(recorder.run_id)


def take_for_dead(recorder):
    """As `flowerml reap` on a host that can't see the folder."""
    sign = {"host": "h", "pid": 1, "time": now_ms() - 600_000}
    MlflowClient().set_tag(recorder.run_id, HEARTBEAT, json.dumps(sign))
    (closed,) = close_stale_runs(300, [])
    assert (closed.run_id, closed.reason) == (recorder.run_id, WHY)
    assert state(recorder).data.tags["mlflow.note.content"] == f"**KILLED**: {WHY}\n\nmine"


@pytest.mark.parametrize(
    ("ended", "note"), [(Ended(Status.FINISHED), "mine"), (Ended(Status.FAILED, "nan"), "**FAILED**: nan\n\nmine")]
)
def test_how_it_ends_is_all_that_is_left_of_it(begun, ended, note):
    take_for_dead(begun)
    begun.record(ended)
    begun.close()
    run = state(begun)
    assert (run.info.status, run.data.tags.get("flowerml.reason", "")) == (ended.status, ended.reason)
    assert run.data.tags["mlflow.note.content"] == note


@pytest.fixture
def often(monkeypatch):
    """The same signs of life, twenty a second."""
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._HEARTBEAT_INTERVAL_S", 0.05)


def test_it_runs_again_by_its_next_sign_of_life(often, begun):
    """`mlflow run` ends its run when its own process was followed by another one, which goes on with that run."""
    MlflowClient().set_terminated(begun.run_id, "FAILED")
    wait_for(lambda: state(begun).info.status == "RUNNING")


def test_a_sign_of_life_does_not_bring_back_what_has_ended(often, begun):
    begun._sender.close = lambda: None  # the thread stays for more signs
    begun.record(Ended(Status.FINISHED))
    begun.close()
    wait_for(lambda: state(begun).info.status == "FINISHED")
    said = state(begun).data.tags[HEARTBEAT]
    wait_for(lambda: state(begun).data.tags[HEARTBEAT] != said)
    assert state(begun).info.status == "FINISHED"


def test_one_that_ends_while_others_are_closed_keeps_its_end(made, monkeypatch):
    """Looking through many runs takes a while, in which somebody may deliver what a run has kept."""
    client = MlflowClient()
    sign = json.dumps({"host": "h", "pid": 1, "time": now_ms() - 600_000})
    first, second, third = (client.create_run("0", tags={HEARTBEAT: sign}).info.run_id for _ in range(3))
    close = reap._close_run

    def slowly(client, run, sign):
        for other, sets in ((first, "end"), (second, "end"), (third, "sign")):
            if other != run.info.run_id and state_of(other).status == "RUNNING":
                if sets == "end":
                    client.set_terminated(other, "FINISHED")
                else:
                    client.set_tag(other, HEARTBEAT, json.dumps({"host": "h", "pid": 1, "time": now_ms()}))
        return close(client, run, sign)

    def state_of(run_id):
        return client.get_run(run_id).info

    monkeypatch.setattr(reap, "_close_run", slowly)
    (closed,) = close_stale_runs(300, [])
    others = {first, second, third} - {closed.run_id}
    assert state_of(closed.run_id).status == "KILLED"
    assert sorted(state_of(run_id).status for run_id in others) in (["FINISHED", "FINISHED"], ["FINISHED", "RUNNING"])
