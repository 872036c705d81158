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
