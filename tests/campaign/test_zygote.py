"""Runs forked from one process that has imported everything: each on its own, none missed, none left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowerml.campaign.execution.fork_client import ForkClient
from flowerml.campaign.execution.job import Job, JobKind
from flowerml.campaign.execution.job_worker import smoke_completed
from flowerml.errors import RunFailed
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.tracking import runs_of_kind
from tests.campaign.conftest import until_ended

LONG = {"epochs": 500, "patience": 0}


def wait_for(what, seconds=60):
    for _ in range(seconds * 20):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def epochs_of(job):
    history = Path(job.settings["output_dir"]) / "history.csv"
    return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0


def status_of(job):
    found = read_run_file(Path(job.settings["output_dir"]))
    return found.status if found else None


def test_a_job_goes_through_a_socket_as_it_is(job):
    made = job(labels={"flowerml.phase": "B"}, threads=2, work=JobKind.SMOKE)
    assert Job.from_json(made.as_json()) == made


@pytest.mark.slow
class TestRuns:
    def test_each_run_is_a_process_of_its_own_and_leaves_what_a_run_leaves(self, forking, job):
        jobs = [job(name, labels={"flowerml.phase": "B", "flowerml.plan_run": name}) for name in ("one", "two")]
        for each in jobs:
            forking.start(each)
        ended = until_ended(forking, 2)
        assert {name: (one.code, one.lost) for name, one in ended.items()} == {"one": (0, False), "two": (0, False)}
        assert [status_of(each) for each in jobs] == ["FINISHED", "FINISHED"]
        runs = {run.tags["flowerml.plan_run"]: run for run in runs_of_kind("flowers", "train")}
        assert {name: (run.status, run.tags["flowerml.phase"]) for name, run in runs.items()} == {
            "one": ("FINISHED", "B"),
            "two": ("FINISHED", "B"),
        }
        weights = [(Path(each.settings["output_dir"]) / "history.csv").read_text().split(",images")[0] for each in jobs]
        assert weights[0] == weights[1]

    def test_a_smoke_test_evaluates_what_it_has_written(self, forking, job):
        made = job(work=JobKind.SMOKE)
        folder = Path(made.settings["output_dir"])
        forking.start(made)
        assert until_ended(forking)["one"].code == 0
        assert smoke_completed(folder)
        assert "smoke test: trained, kept and evaluated" in Path(made.log).read_text()
        (folder / "eval_val" / "errors.html").unlink()  # killed between its two halves
        forking.start(made)
        assert until_ended(forking)["one"].code == 0
        assert smoke_completed(folder)
        assert len(runs_of_kind("flowers", "smoke") + runs_of_kind("flowers", "train")) == 1

    def test_how_it_ended_is_told_in_a_code_and_a_line(self, forking, job):
        forking.start(job("refused", train_dir="nowhere"))
        refused = until_ended(forking)["refused"]
        assert refused.code == 2
        assert "the pictures' folder 'nowhere' does not exist" in refused.said
        forking.start(job("diverged", lr_head=10.0, lr_backbone=10.0, optimizer="sgd", grad_clip=0.0, epochs=5))
        diverged = until_ended(forking)["diverged"]
        assert diverged.code == 1
        assert "the loss is nan" in diverged.said

    def test_a_killed_run_is_told_of_and_others_go_on(self, forking, job):
        victim, other = job("victim", **LONG), job("other", epochs=3)
        forking.start(victim)
        forking.start(other)
        wait_for(lambda: epochs_of(victim) >= 1)
        os.kill(forking.process_of("victim"), signal.SIGKILL)
        ended = until_ended(forking, 2)
        assert (ended["victim"].code, ended["other"].code) == (-signal.SIGKILL, 0)

    def test_a_run_that_is_asked_to_stop_keeps_a_checkpoint_and_goes_on_when_started_again(self, forking, job):
        made = job(epochs=6)
        forking.start(made)
        wait_for(lambda: epochs_of(made) >= 2)
        forking.stop("one")
        ended = until_ended(forking)["one"]
        assert (ended.code, status_of(made)) == (130, "KILLED")
        done = epochs_of(made)
        assert 2 <= done < 6
        forking.start(made)
        assert until_ended(forking)["one"].code == 0
        assert (
            f"it goes on after epoch {done}" in Path(made.log).read_text()
            or "it goes on after step" in Path(made.log).read_text()
        )

    def test_environment_and_threads_are_the_jobs_own(self, forking, job):
        made = job(environment={"CUDA_VISIBLE_DEVICES": "7"}, threads=2)
        forking.start(made)
        assert until_ended(forking)["one"].code == 0
        assert "threads 2" in (Path(made.settings["output_dir"]) / "environment.txt").read_text()
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
class TestDeaths:
    def test_when_the_one_who_asks_is_gone_its_runs_stop_with_a_checkpoint(self, job, tmp_path):
        """The asking process is killed; nothing of it is left behind, and the run is KILLED, not RUNNING for ever."""
        made = job(**LONG)
        asking = (
            "import json, sys, time\nfrom flowerml.campaign.execution.fork_client import ForkClient\nfrom"
            " flowerml.campaign.execution.job import Job\nf = ForkClient(); f.wait_ready();"
            " f.start(Job.of(json.load(open(sys.argv[1]))))\nwhile True: f.poll(1)"
        )
        file = tmp_path / "job.json"
        file.write_text(__import__("json").dumps(made.as_json()))
        process = subprocess.Popen([sys.executable, "-c", asking, str(file)])
        try:
            wait_for(lambda: epochs_of(made) >= 1, 120)
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) == 2  # the zygote and the run
            process.kill()
            process.wait()
            _, alive = psutil.wait_procs(family, timeout=60)
            assert alive == []
        finally:
            process.kill()
        assert status_of(made) == "KILLED"
        assert list((Path(made.settings["output_dir"]) / "state").iterdir())

    def test_when_the_zygote_is_killed_its_runs_stop_too(self, job):
        made, forking = job(**LONG), ForkClient()
        forking.wait_ready()
        forking.start(made)
        wait_for(lambda: epochs_of(made) >= 1)
        run = psutil.Process(forking.process_of("one"))
        os.kill(run.ppid(), signal.SIGKILL)
        ended = until_ended(forking)["one"]
        assert ended.lost
        assert forking.dead
        run.wait(60)
        assert status_of(made) == "KILLED"

    def test_a_process_with_threads_does_not_fork(self, monkeypatch):
        """OpenBLAS makes its threads when it is imported, if it may."""
        monkeypatch.setattr("flowerml.campaign.execution.fork_client.ONE_THREAD", {"OPENBLAS_NUM_THREADS": "3"})
        found = ForkClient()
        with pytest.raises(RunFailed, match="threads in the process that forks"):
            found.wait_ready()
        found.close()
        found.wait(10)
