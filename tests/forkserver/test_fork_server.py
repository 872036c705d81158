"""Jobs forked from one process that has imported everything: isolated, none missed, none left behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowerml.campaign.execution.job import RUN_JOB, JobKind
from flowerml.campaign.state.run_status import smoke_completed
from flowerml.errors import RunFailed
from flowerml.forkserver.client import ForkClient
from flowerml.runs.lifecycle.lease import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.tracking import runs_of_kind

LONG = {"epochs": 500, "patience": 0}


def wait_for(condition, seconds=60):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def wait_results(fork_client, count=1, seconds=120):
    """The results of the next `count` jobs that end, by name."""
    results = {}
    for _ in range(seconds):
        results |= {result.name: result for result in fork_client.poll(1.0)}
        if len(results) >= count:
            return results
    raise AssertionError(f"only {results} after {seconds} s")


def folder_of(job):
    (run,) = job.arguments
    return Path(run.settings["output_dir"])


def epochs_of(job):
    history = folder_of(job) / "history.csv"
    return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0


def status_of(job):
    found = read_run_file(folder_of(job))
    return found.status if found else None


def pid_of(job):
    return lease_owner(folder_of(job)).pid


def test_a_job_goes_through_a_socket_unchanged(make_job):
    made = make_job(labels={"flowerml.phase": "B"}, threads=2, kind=JobKind.SMOKE)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.slow
class TestRuns:
    def test_each_run_is_a_process_of_its_own_and_leaves_what_a_run_leaves(self, fork_client, make_job):
        jobs = [make_job(name, labels={"flowerml.phase": "B", "flowerml.plan_run": name}) for name in ("one", "two")]
        for each in jobs:
            fork_client.start(each)
        ended = wait_results(fork_client, 2)
        assert {name: (one.exit_code, one.lost) for name, one in ended.items()} == {
            "one": (0, False),
            "two": (0, False),
        }
        assert [status_of(each) for each in jobs] == ["FINISHED", "FINISHED"]
        runs = {run.tags["flowerml.plan_run"]: run for run in runs_of_kind("flowers", "train")}
        assert {name: (run.status, run.tags["flowerml.phase"]) for name, run in runs.items()} == {
            "one": ("FINISHED", "B"),
            "two": ("FINISHED", "B"),
        }
        weights = [(folder_of(each) / "history.csv").read_text().split(",images")[0] for each in jobs]
        assert weights[0] == weights[1]

    def test_a_smoke_test_evaluates_what_it_has_written(self, fork_client, make_job):
        made = make_job(kind=JobKind.SMOKE)
        folder = folder_of(made)
        fork_client.start(made)
        assert wait_results(fork_client)["one"].exit_code == 0
        assert smoke_completed(folder)
        assert "smoke test: trained, kept and evaluated" in Path(made.log).read_text()
        (folder / "eval_val" / "errors.html").unlink()  # killed between its two halves
        fork_client.start(made)
        assert wait_results(fork_client)["one"].exit_code == 0
        assert smoke_completed(folder)
        assert len(runs_of_kind("flowers", "smoke") + runs_of_kind("flowers", "train")) == 1

    def test_how_it_ended_is_told_in_a_code_and_a_line(self, fork_client, make_job):
        fork_client.start(make_job("refused", train_dir="nowhere"))
        refused = wait_results(fork_client)["refused"]
        assert refused.exit_code == 2
        assert "the pictures' folder 'nowhere' does not exist" in refused.last_line
        fork_client.start(
            make_job("diverged", lr_head=10.0, lr_backbone=10.0, optimizer="sgd", grad_clip=0.0, epochs=5)
        )
        diverged = wait_results(fork_client)["diverged"]
        assert diverged.exit_code == 1
        assert "the loss is nan" in diverged.last_line

    def test_a_killed_run_is_told_of_and_others_go_on(self, fork_client, make_job):
        victim, other = make_job("victim", **LONG), make_job("other", epochs=3)
        fork_client.start(victim)
        fork_client.start(other)
        wait_for(lambda: epochs_of(victim) >= 1)
        os.kill(pid_of(victim), signal.SIGKILL)
        ended = wait_results(fork_client, 2)
        assert (ended["victim"].exit_code, ended["other"].exit_code) == (-signal.SIGKILL, 0)

    def test_a_run_that_is_asked_to_stop_keeps_a_checkpoint_and_goes_on_when_started_again(self, fork_client, make_job):
        made = make_job(epochs=6)
        fork_client.start(made)
        wait_for(lambda: epochs_of(made) >= 2)
        fork_client.stop("one")
        ended = wait_results(fork_client)["one"]
        assert (ended.exit_code, status_of(made)) == (130, "KILLED")
        done = epochs_of(made)
        assert 2 <= done < 6
        fork_client.start(made)
        assert wait_results(fork_client)["one"].exit_code == 0
        assert (
            f"it goes on after epoch {done}" in Path(made.log).read_text()
            or "it goes on after step" in Path(made.log).read_text()
        )

    def test_environment_and_threads_are_the_jobs_own(self, fork_client, make_job):
        made = make_job(environment={"CUDA_VISIBLE_DEVICES": "7"}, threads=2)
        fork_client.start(made)
        assert wait_results(fork_client)["one"].exit_code == 0
        assert "threads 2" in (folder_of(made) / "environment.txt").read_text()
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
class TestDeaths:
    def test_when_the_one_who_asks_is_gone_its_runs_stop_with_a_checkpoint(self, make_job, tmp_path):
        """The asking process is killed; nothing of it is left behind, and the run is KILLED, not RUNNING for ever."""
        made = make_job(**LONG)
        program = (
            "import pickle, sys\nfrom flowerml.forkserver.client import ForkClient\n"
            "client = ForkClient(); client.start(pickle.load(open(sys.argv[1], 'rb')))\nwhile True: client.poll(1)"
        )
        file = tmp_path / "job.pickle"
        file.write_bytes(pickle.dumps(made))
        process = subprocess.Popen([sys.executable, "-c", program, str(file)])
        try:
            wait_for(lambda: epochs_of(made) >= 1, 120)
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) == 2  # the server and the run
            process.kill()
            process.wait()
            _, alive = psutil.wait_procs(family, timeout=60)
            assert alive == []
        finally:
            process.kill()
        assert status_of(made) == "KILLED"
        assert list((folder_of(made) / "state").iterdir())

    def test_when_the_server_is_killed_its_runs_stop_too(self, make_job):
        made, fork_client = make_job(**LONG), ForkClient(RUN_JOB)
        fork_client.start(made)
        wait_for(lambda: epochs_of(made) >= 1)
        run = psutil.Process(pid_of(made))
        os.kill(fork_client.pid, signal.SIGKILL)
        ended = wait_results(fork_client)["one"]
        assert ended.lost
        assert fork_client.is_dead
        run.wait(60)
        assert status_of(made) == "KILLED"

    def test_a_process_with_threads_does_not_fork(self, monkeypatch):
        """OpenBLAS makes its threads when it is imported, if it may."""
        monkeypatch.setattr("flowerml.forkserver.client.ONE_THREAD", {"OPENBLAS_NUM_THREADS": "3"})
        client = ForkClient()
        with pytest.raises(RunFailed, match="threads in the process that forks"):
            client.wait_ready()
        client.close(10)
