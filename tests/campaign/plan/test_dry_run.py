"""`flowerml campaign --check`, and bad arguments."""

import json

import pytest

from flowerml.cli.main import main


class TestCommand:
    @pytest.mark.no_store
    def test_check_prints_the_whole_schedule_and_runs_nothing(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["campaign", "--plan", "tp3", "--check"]) == 0
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert lines[0] == "tp3: 24 runs from smoke tests to one CNN and one ViT"
        assert sum(line.lstrip()[:2].strip().isdigit() for line in lines[2:]) == 24
        assert "   23  F01_CNN_FINAL_FULLTRAIN           the best of phase C, seed 11, retrain" in lines
        assert err.startswith("warning: tp3.yaml, line 64: lr_head 3e-4 is off the grid")
        assert list(tmp_path.iterdir()) == []

    def test_check_as_json(self, capsys):
        assert main(["campaign", "--plan", "tp3_reduced", "--check", "--json", "--set", "epochs=3"]) == 0
        read = json.loads(capsys.readouterr().out)
        runs = [run for phase in read["phases"] for run in phase["runs"]]
        assert len(runs) == 16
        assert {run["settings"]["epochs"] for run in runs if run["settings"]} == {3}
        assert (runs[6]["run"], runs[6]["configuration"], runs[6]["seed"]) == (
            "C01_CNN_top1_seed23",
            "the best of phase B",
            23,
        )
        assert read["overrides"] == ["epochs=3"]

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--plan", "tp4"], "the plan 'tp4' is unknown. Did you mean tp3?"),
            (["--plan", "tp3", "--set", "epohcs=2"], "setting 'epohcs' is unknown. Did you mean epochs?"),
            (["--plan", "tp3", "--parallel", "0"], "--parallel is '0'. Allowed: whole number, 1 to 256"),
            (["--plan", "tp3", "--probe"], "--probe estimates what --check prints: give both"),
            (["--plan", "tp3", "--ray-address", "auto"], "give it with --executor ray"),
            (["--plan", "tp3", "--name", "a/b"], "--name is 'a/b'. Allowed: up to 40 letters"),
            (["--plan", "tp3", "--train-dir", "nowhere"], "--train-dir nowhere: no such folder"),
            ([], "the following arguments are required: --plan"),
        ],
    )
    def test_bad_words_are_one_line_and_exit_2(self, words, says, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["campaign", *words]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert says in errors[0]
        assert not (tmp_path / "runs").exists()


@pytest.mark.no_store
class TestDeadline:
    @pytest.fixture
    def ten_minutes(self, monkeypatch):
        monkeypatch.setattr(
            "flowerml.campaign.engine.probe.estimate_durations",
            lambda plan, _train_dir: {run.name: 600.0 for run in plan.runs},
        )

    def test_the_schedule_says_what_fits_before_it(self, ten_minutes, capsys):
        assert main(["campaign", "--plan", "tp3", "--check", "--probe", "--deadline", "4h"]) == 0
        lines = capsys.readouterr().out.splitlines()
        unfit = [line.split()[1] for line in lines if line.endswith("does not fit before the deadline")]
        assert lines[-1] == f"before the deadline {24 - len(unfit)} of 24 runs fit"
        assert unfit
        assert all(name.startswith(("B0", "D0")) for name in unfit)

    def test_as_json(self, ten_minutes, capsys):
        words = ["campaign", "--plan", "tp3", "--check", "--probe", "--json", "--deadline"]
        assert main([*words, "4h"]) == 0
        phases = json.loads(capsys.readouterr().out)["phases"]
        assert {run["run"][0] for phase in phases for run in phase["runs"] if "fits" in run} <= {"B", "D"}
        assert main([*words, "2d"]) == 0
        phases = json.loads(capsys.readouterr().out)["phases"]
        assert not [run for phase in phases for run in phase["runs"] if "fits" in run]

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--deadline", "soon"], "error: --deadline is 'soon'. Allowed: HH:MM (today, or tomorrow"),
            (["--deadline", "2001-01-01T00:00"], "error: --deadline 2001-01-01T00:00 is past"),
            (["--check", "--deadline", "8h"], "error: --check says what fits before a --deadline only with --probe"),
        ],
    )
    def test_what_it_can_not_be_is_one_line(self, words, says, capsys):
        assert main(["campaign", "--plan", "tp3", *words]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        assert len(errors) == 1
        assert errors[0].startswith(says)
