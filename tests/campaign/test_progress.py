"""What a person sees of a running campaign: time left, lines, table."""

import pytest

from flowerml.campaign.engine.snapshot_builder import display_name
from flowerml.campaign.report.console import LogDisplay, live_table, progress_line, status_line
from flowerml.campaign.report.eta import with_eta
from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.status import CampaignStatus, Epoch, PhaseStatus, RunStatus


def row(name, status=RunStatus.TODO, *, family="cnn", epochs=10, done=0, seconds=None, **more):
    history = tuple(Epoch(number, {"val_accuracy": number / 100}) for number in range(1, done + 1))
    values = {"phase": name[0], "order": 1, "model": "net", "title": "Net", "seed": 11, **more}
    return RunRow(name=name, family=family, status=status, epochs=epochs, history=history, seconds=seconds, **values)


def campaign(*phases):
    made = tuple(
        PhaseSnapshot(
            name=runs[0].phase, title=f"Phase {runs[0].phase}", kind="select", status=PhaseStatus.OPEN, runs=runs
        )
        for runs in phases
    )
    return CampaignSnapshot(
        id="c-1",
        plan="c",
        title="A campaign",
        status=CampaignStatus.RUNNING,
        phases=made,
        plan_digest="p" * 64,
        data_digest="d" * 64,
        split_digest="s" * 64,
        classes=("a", "b"),
        train_dir="data",
        started=0,
        updated=0,
    )


class TestTimeLeft:
    def test_nothing_is_said_before_anything_is_known(self):
        found = with_eta(campaign((row("B1"), row("B2"))), 1)
        assert (found.left, found.phases[0].left) == (None, None)

    def test_epochs_left_times_what_one_takes(self):
        found = with_eta(campaign((row("B1", RunStatus.RUNNING, done=4, seconds=40.0), row("B2"))), 1)
        assert [run.left for run in found.runs] == [60.0, 100.0]
        assert (found.phases[0].left, found.left) == (160.0, 160.0)

    def test_runs_at_a_time_share_it_but_none_is_shorter_than_itself(self):
        rows = (row("B1", RunStatus.RUNNING, done=4, seconds=40.0), *(row(f"B{place}") for place in range(2, 5)))
        assert with_eta(campaign(rows), 2).phases[0].left == 180.0
        assert with_eta(campaign(rows), 9).phases[0].left == 100.0

    def test_families_have_paces_of_their_own(self):
        phases = (row("B1", RunStatus.FINISHED, done=10, seconds=20.0),), (row("D1", family="vit"),)
        assert with_eta(campaign(*phases), 1).left is None
        guessed = with_eta(campaign(*phases), 1, {"D1": 3.0})
        assert guessed.left == 30.0

    def test_the_share_of_epochs_that_were_needed_is_taken_for_those_to_come(self):
        rows = (row("B1", RunStatus.FINISHED, done=5, seconds=10.0), row("B2"), row("B3", RunStatus.FAILED))
        assert [run.left for run in with_eta(campaign(rows), 1).runs] == [0.0, 10.0, 0.0]


class TestLines:
    def test_a_line_for_each_beginning_and_end(self, capsys):
        shown = LogDisplay()
        shown.show(campaign((row("B1"),)))
        shown.show(campaign((row("B1", RunStatus.RUNNING, tries=1),)))
        shown.show(campaign((row("B1", RunStatus.RUNNING, tries=1, done=3),)))
        shown.show(
            campaign((row("B1", RunStatus.FINISHED, done=10, seconds=65.0, accuracy=0.9, macro_f1=0.8, best_epoch=7),))
        )
        assert capsys.readouterr().err.splitlines() == [
            "B1: running, up to 10 epochs",
            "B1: finished: val accuracy 0.9000, macro-F1 0.8000 at epoch 7 of 10, 1 min 05 s",
        ]

    def test_why_a_run_failed_is_said(self):
        assert status_line(row("B1", RunStatus.FAILED, tries=2, reason="no memory")) == "B1: failed (try 2): no memory"

    def test_progress_in_a_line(self):
        found = with_eta(campaign((row("B1", RunStatus.RUNNING, done=4, seconds=400.0), row("B2"))), 1)
        assert (
            progress_line(found)
            == "0 of 2 runs finished; B1 epoch 4/10 0.0400; about 26 min 40 s left in phase B, 26 min 40 s in all"
        )

    def test_the_table_has_every_run_with_its_status_and_figures(self):
        from rich.console import Console

        found = with_eta(campaign((row("B1", RunStatus.RUNNING, done=4, seconds=400.0), row("B2"))), 1)
        with Console(width=120, record=True) as console:
            console.print(live_table(found))
        text = console.export_text()
        assert "A campaign (c-1), about 26 min 40 s left" in text
        assert "B1" in text
        assert "4/10" in text
        assert "TODO" in text


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("convnextv2_large", "ConvNeXtV2-Large"),
        ("clip_vitl14", "CLIP ViT-L/14"),
        ("timm:vit_tiny_patch16_224", "timm:vit_tiny_patch16_224"),
    ],
)
def test_models_have_the_names_of_the_users_table(model, title):
    assert display_name(model) == title
