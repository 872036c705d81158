"""The rule's table worked out by hand: the order, what is not eligible and why, which run of a seed counts."""

import math

import pytest

from tests.cli.select.candidates import ELIGIBLE, NAMED
from tests.cli.select.select_command import select_json


class TestTheRule:
    @pytest.fixture
    def decision(self, everything, capsys):
        return everything, select_json(capsys, *NAMED, "--no-record")

    def test_each_level_decides_where_those_above_are_equal(self, decision):
        _, found = decision
        assert [(one["config_id"], one["ahead_by"]) for one in found["ranking"]] == [
            (config, level) for config, *_, level in ELIGIBLE
        ]
        assert [one["hits"] for one in found["ranking"]] == [275, *[274] * 6, 273]
        assert found["winner"] == "i-accuracy"
        first = found["ranking"][0]
        assert first["accuracy"] == pytest.approx(
            {"mean": 2.75 / 3, "standard_deviation": math.sqrt(25 / 3) / 100, "n": 3}
        )
        assert first["macro_f1"] == pytest.approx({"mean": 0.4, "standard_deviation": 0.0, "n": 3})
        assert (found["chosen_run"]["run_name"], found["chosen_run"]["hits"]) == ("i-accuracy-s11", 95)

    def test_each_reason_against_a_configuration(self, decision):
        ids, found = decision
        reasons = {one["config_id"]: "; ".join(one["reasons"]) for one in found["not_eligible"]}

        def of(name: str, config: str) -> str:
            return f"seed 47: run {config}-s47 ({ids[name][:8]})"

        assert reasons == {
            "failed": f"{of('failed', 'failed')} is FAILED",
            "running": f"{of('running', 'running')} is RUNNING",
            "killed": f"{of('killed', 'killed')} is KILLED",
            "nan": f"{of('nan', 'nan')} has best_val_accuracy nan",
            "no f1": f"{of('no f1', 'no f1')} has no best_val_macro_f1",
            "lacks one": "lacks seed 47",
            "six classes": "has 6 classes, not 5",
            "spoilt": (
                f"{of('spoilt', 'spoilt')} is FAILED, and is newer than the FINISHED spoilt-s47"
                f" ({ids['spoilt before'][:8]}): repeat or delete it"
            ),
        }

    def test_of_two_finished_runs_of_a_seed_the_newest_counts_and_it_is_said(self, decision):
        ids, found = decision
        counted = [run["run_id"] for run in found["ranking"][-1]["runs"]]
        assert ids["newer"] in counted
        assert ids["older"] not in counted
        said = [remark for remark in found["remarks"] if "two FINISHED runs" in remark]
        assert any(
            f"the newest, a-last-s47 ({ids['newer'][:8]}), counts, not a-last-s47 ({ids['older'][:8]})" in remark
            for remark in said
        )

    def test_trials_are_ranked_on_request(self, everything, capsys):
        assert select_json(capsys, *NAMED, "--no-record", "--include", "trial")["winner"] == "trial"
