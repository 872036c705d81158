"""The ledger of a campaign, between two starts of it."""

import pytest

from flowerml.campaign.state.ledger import LEDGER, check_run_names, open_ledger
from flowerml.errors import UserError


class TestNotes:
    def ledger(self, folder, campaign="c-1", names=("A1", "B1")):
        return open_ledger(folder, campaign=campaign, plan="c", plan_digest="p" * 64, data_digest="d" * 64, names=names)

    def test_they_outlast_the_process(self, tmp_path):
        notes = self.ledger(tmp_path / "c-1")
        notes.notes_of("B1").failures, notes.notes_of("B1").reason, notes.notes_of("A1").seconds = 2, "it broke", 3.5
        notes.save()
        again = self.ledger(tmp_path / "c-1")
        assert (again.notes_of("B1").failures, again.notes_of("B1").reason, again.notes_of("A1").seconds) == (
            2,
            "it broke",
            3.5,
        )
        assert again.started == notes.started
        again.reset_failures(["B1"])
        assert again.notes_of("B1").failures == 0

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "another"}'])
    def test_without_them_it_begins_anew(self, tmp_path, content):
        notes = self.ledger(tmp_path / "c-1")
        notes.notes_of("B1").failures = 2
        notes.save()
        (tmp_path / "c-1" / LEDGER).write_text(content)
        assert self.ledger(tmp_path / "c-1").notes_of("B1").failures == 0

    def test_campaigns_with_other_names_share_a_folder_and_with_the_same_do_not(self, tmp_path):
        self.ledger(tmp_path / "c-1").save()
        check_run_names(tmp_path, "c-1", ["A1", "B1"])
        check_run_names(tmp_path, "c-2", ["G1"])
        with pytest.raises(
            UserError, match=r"holds the runs of campaign c-1 .* which has a run B1 too: choose another --runs-root"
        ):
            check_run_names(tmp_path, "c-2", ["B1"])
