"""Flags under the names of other trainers: the nearest of ours is suggested."""

import pytest

from flowerml.cli.main import run_command


class TestOtherNames:
    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            ("train --learning_rate 1e-3", "--lr-head or --lr-backbone"),
            ("train --lr 1e-3", "--lr-head or --lr-backbone"),
            ("train --arch resnet18", "--model"),
            ("train --num_epochs 3", "--epochs"),
            ("train --warmup 3", "--warmup-epochs"),
            ("train --image-size 224", "--img-size"),
            ("sweep --n_trials 3", "--trials"),
            ("campaign --plan tp3 --data x", "--train-dir"),
        ],
    )
    def test_what_other_trainers_call_a_setting_is_understood(self, words, hint, capsys):
        assert run_command(words.split()[0], words.split()[1:]) == 2
        assert f"is unknown. Did you mean {hint}?" in capsys.readouterr().err

    @pytest.mark.parametrize("words", ["train --check true", "train --foo 1", "export --quux 1"])
    def test_nothing_is_suggested_where_nothing_is_near(self, words, capsys):
        assert run_command(words.split()[0], words.split()[1:]) == 2
        assert "Did you mean" not in capsys.readouterr().err
