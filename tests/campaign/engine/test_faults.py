"""Campaigns with failing runs, absent servers, other processes."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flowerml.campaign.status import CampaignStatus, RunStatus
from flowerml.errors import RunFailed, UserError
from flowerml.forkserver.job import JobResult
from flowerml.runs.lifecycle.lease import acquire, fenced_writes
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.campaign.campaigns import TINY, run_here, runs_at_mlflow
from tests.campaign.plans import changed

ONE_FAMILY = TINY[: TINY.index("  D:\n")] + "  F:\n    final: {mode: retrain, of: [C]}\n    runs: [F1]\n"
TO_B = TINY[: TINY.index("  C:\n")]


def fail(name, times, code=1, said="it broke"):
    """Let a run's first tries end so, with nothing done."""
    left = [times]

    def before(job):
        if job.name == name and left[0]:
            left[0] -= 1
            return JobResult(name, code, said)
        return None

    return before


@pytest.mark.slow
class TestFailures:
    def test_a_failing_smoke_test_stops_everything_with_its_last_lines(self, flowers, tmp_path):
        def broken(job):
            return replace(job, settings={**job.settings, "train_dir": "gone"}) if job.name == "A1" else None

        with pytest.raises(RunFailed) as caught:
            run_here(flowers, tmp_path, TO_B, before=broken)
        message = str(caught.value)
        assert "phase A: a smoke test failed, and nothing follows phase A without it" in message
        assert "A1: the pictures' folder 'gone' does not exist" in message
        (parent,) = runs_at_mlflow("campaign")["campaign tiny"]
        assert parent.info.status == "FAILED"
        assert "a smoke test failed" in parent.data.tags["flowerml.reason"]
        snapshot, jobs = run_here(flowers, tmp_path, TO_B)  # whoever starts it again has seen why it stopped
        assert jobs == ["A1", "B1", "B2"]
        assert snapshot.status is CampaignStatus.FINISHED
        assert len(runs_at_mlflow("campaign")["campaign tiny"]) == 1

    def test_a_failed_run_is_tried_again_and_goes_on(self, flowers, tmp_path):
        snapshot, jobs = run_here(flowers, tmp_path, TO_B, before=fail("B1", 1))
        assert jobs == ["A1", "B1", "B1", "B2"]
        assert next(run for run in snapshot.runs if run.name == "B1").tries == 2

    def test_one_that_fails_for_good_is_left_out_and_said(self, flowers, tmp_path, capsys):
        snapshot, jobs = run_here(flowers, tmp_path, TO_B, before=fail("B1", 9, said="no memory"))
        assert jobs == ["A1", "B1", "B1", "B2"]
        failed = next(run for run in snapshot.runs if run.name == "B1")
        assert (failed.status, failed.reason) == (RunStatus.FAILED, "no memory")
        assert next(phase for phase in snapshot.phases if phase.name == "B").decision.chosen == ("B2",)
        assert "B1: failed (try 2): no memory" in capsys.readouterr().err
        again, jobs = run_here(flowers, tmp_path, TO_B)
        assert jobs == []  # for good
        again, jobs = run_here(flowers, tmp_path, TO_B, retry=True)
        assert jobs == ["B1"]
        assert [run.status for run in again.runs] == [RunStatus.FINISHED] * 3

    def test_where_too_few_are_left_nothing_is_chosen(self, flowers, tmp_path):
        text = changed("top: 1, by: val_accuracy, then", "top: 2, by: val_accuracy, then", TO_B)
        with pytest.raises(RunFailed, match="phase B is to choose 2, and 1 of its configurations can be ranked"):
            run_here(flowers, tmp_path, text, before=fail("B1", 9))

    def test_a_lost_machine_is_no_failure(self, flowers, tmp_path):
        lost = JobResult("B1", -1, "its place is gone", lost=True)
        left = [3]

        def before(job):
            left[0] -= job.name == "B1"
            return lost if job.name == "B1" and left[0] >= 0 else None

        snapshot, jobs = run_here(flowers, tmp_path, TO_B, before=before)
        assert jobs == ["A1", "B1", "B1", "B1", "B1", "B2"]
        assert [run.status for run in snapshot.runs] == [RunStatus.FINISHED] * 3


@pytest.mark.slow
class TestServers:
    def test_a_phase_waits_for_a_server_that_went_away_and_says_so(self, server, flowers, tmp_path, capsys):
        """From B2 on nothing is heard there, until it has been waited for. No run fails, and no event is missing."""
        seen = {"waits": 0}

        def away(job):
            if job.name == "B2":
                server.reset(lambda number, path: "503")

        class BringsItBack:
            def show(self, campaign):
                if (
                    all(run.status is RunStatus.FINISHED for run in campaign.runs)
                    and campaign.status is CampaignStatus.RUNNING
                ):
                    seen["waits"] += 1
                    if seen["waits"] == 3:
                        server.reset()

        snapshot, jobs = run_here(flowers, tmp_path, TO_B, before=away, shown=BringsItBack(), name="away")
        assert jobs == ["A1", "B1", "B2"]
        assert snapshot.status is CampaignStatus.FINISHED
        assert "phase B waits: " in (said := capsys.readouterr().err)
        assert "events of B2 are not with the tracking server" in said
        at_mlflow = {name: run.info.status for name, (run,) in runs_at_mlflow("train", snapshot.id).items()}
        assert at_mlflow == {"B1": "FINISHED", "B2": "FINISHED"}
        (parent,) = runs_at_mlflow("campaign", snapshot.id)["campaign tiny"]
        assert parent.info.status == "FINISHED"

    def test_a_campaign_waits_for_a_server_that_is_not_there_yet(self, server, flowers, tmp_path, capsys):
        answered = []

        def late(number, path):
            answered.append(path)
            return "503" if len(answered) < 4 else None

        server.reset(late)
        snapshot, _ = run_here(flowers, tmp_path, TO_B, name="late")
        assert snapshot.status is CampaignStatus.FINISHED
        said = capsys.readouterr().err
        assert "answers with an error (HTTP 503 Service Unavailable" in said
        assert said.count("The campaign waits for it (Ctrl-C ends that)") == 1
        assert "the tracking server answers" in said


@pytest.mark.slow
class TestOthers:
    def test_the_second_runner_says_who_holds_the_campaign(self, flowers, tmp_path):
        snapshot, _ = run_here(flowers, tmp_path, TO_B)
        says = rf"campaign {snapshot.id} is being run by process {os.getpid()} on .*: wait for it"
        with fenced_writes(acquire(tmp_path / "runs" / snapshot.id, 60)), pytest.raises(UserError, match=says):
            run_here(flowers, tmp_path, TO_B)

    def test_another_campaigns_runs_are_not_touched(self, flowers, tmp_path):
        snapshot, _ = run_here(flowers, tmp_path, TO_B)
        with pytest.raises(
            UserError, match=f"holds the runs of campaign {snapshot.id} .* has a run A1 too: choose another --runs-root"
        ):
            run_here(flowers, tmp_path, TO_B, "epochs=1")

    def test_a_run_of_no_campaign_is_not_taken_for_its_own(self, flowers, tmp_path):
        snapshot, _ = run_here(flowers, tmp_path, TO_B)
        elsewhere = tmp_path / "other"
        shutil.copytree(tmp_path / "runs" / "B1", elsewhere / "runs" / "B1")
        with pytest.raises(UserError, match=f"B1 holds a run of campaign {snapshot.id}: choose another --runs-root"):
            run_here(flowers, elsewhere, TO_B, name="second")

    def test_a_run_that_another_process_works_on_is_waited_for(self, flowers, tmp_path):
        """An orphan of a killed runner, say: its end counts, and no second one is started beside it."""
        held = {}

        def hold(job):
            if job.name == "B1" and "claim" not in held:
                held["claim"] = acquire(Path(job.settings["output_dir"]), 60)
                return JobResult("B1", 2, f"{job.settings['output_dir']} is being worked on by …")
            return None

        class LetsGo:
            def show(self, campaign):
                held["shown"] = held.get("shown", 0) + (campaign.runs[1].status is RunStatus.RUNNING)
                if held["shown"] == 3:
                    held["claim"].release()

        snapshot, jobs = run_here(flowers, tmp_path, TO_B, before=hold, shown=LetsGo())
        assert held["shown"] >= 3
        assert jobs == ["A1", "B1", "B2", "B1"]  # there is room for another one meanwhile
        assert next(run for run in snapshot.runs if run.name == "B1").tries == 1

    def test_a_kept_model_is_the_best_seeds_file_to_the_byte(self, flowers, tmp_path):
        snapshot, jobs = run_here(flowers, tmp_path, ONE_FAMILY, "final.mode=keep_best")
        assert jobs == ["A1", "B1", "B2", "C1", "F1"]
        decision = next(phase for phase in snapshot.phases if phase.name == "C").decision.decision
        best = decision.chosen.run_name
        kept, source = tmp_path / "runs" / "F1", tmp_path / "runs" / best
        assert (kept / "best.pth").read_bytes() == (source / "best.pth").read_bytes()
        (run,) = runs_at_mlflow("final")["F1"]
        assert run.data.tags["flowerml.source_run"] == decision.chosen.run_id
        assert run.data.tags["flowerml.seed"] == str(decision.chosen.seed)
        assert run.data.metrics["best_val_accuracy"] == decision.chosen.accuracy
        assert read_run_file(kept).status == "FINISHED"
        (delivered,) = snapshot.delivered
        manifest = json.loads((tmp_path / "out" / "MANIFEST.json").read_text())["files"]["cnn_flowers.pth"]
        assert manifest["metrics"]["val_accuracy"] == decision.chosen.accuracy
        assert delivered.family == "cnn"
