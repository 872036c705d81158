"""The spelling of flags: hyphens and underscores, switches, values, and what stands twice."""

import pytest

from flowerml.errors import UserError
from flowerml.settings.declaration import fields
from flowerml.settings.flags import CommandParser
from tests.cli.flags.parsing import parse, settings_of


class TestSwitches:
    """`--amp`, `--amp true|false` and `--no-amp` all parse."""

    @pytest.mark.parametrize("name", ["amp", "ema", "overwrite", "compile"])
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("--{}", True),
            ("--{} true", True),
            ("--{}=true", True),
            ("--{} True", True),
            ("--{} false", False),
            ("--{}=false", False),
            ("--no-{}", False),
            ("--no_{}", False),
            ("--{} --no-{}", False),
            ("--no-{} --{}", True),
            ("--{} false --{}", True),
        ],
    )
    def test_every_spelling(self, name, line, expected):
        assert getattr(settings_of(line.format(name, name)), name) is expected

    def test_a_flag_behind_a_switch_is_not_its_value(self):
        settings = settings_of("--amp --no-ema --epochs 7")
        assert (settings.amp, settings.ema, settings.epochs) == (True, False, 7)

    def test_left_out_is_the_default(self):
        assert parse("") == {}
        settings = settings_of("")
        assert (settings.amp, settings.ema, settings.overwrite, settings.compile) == (True, True, False, None)

    def test_a_flag_without_value_takes_true_and_false_as_mlflow_run_gives_them(self):
        parser = CommandParser(prog="x")
        parser.add_argument("--check", action="store_true")
        parser.add_argument("--name")
        for words, check in (
            (["--check"], True),
            (["--check", "true"], True),
            (["--check", "True", "--name", "true"], True),
            (["--check=false"], False),
            (["--name", "false", "--check", "false"], False),
        ):
            assert parser.parse(words).check is check, words
        with pytest.raises(UserError, match="'maybe' is unknown"):
            parser.parse(["--check", "maybe"])


class TestSpelling:
    """`--lr_head` equals `--lr-head`; values are never touched."""

    @pytest.mark.parametrize("line", ["--lr-head 1e-3", "--lr_head 1e-3", "--lr-head=1e-3", "--lr_head=1e-3"])
    def test_hyphen_and_underscore_are_one(self, line):
        assert parse(line) == {"lr_head": "1e-3"}

    @pytest.mark.parametrize("name", [name for name in fields() if name not in ("amp", "ema", "overwrite", "compile")])
    def test_every_setting_has_its_flag_in_both_spellings(self, name):
        hyphens = name.replace("_", "-")
        for spelling in (f"--{hyphens} x_y-z", f"--{name} x_y-z", f"--{hyphens}=x_y-z", f"--{name}=x_y-z"):
            assert parse(spelling) == {name: "x_y-z"}

    def test_values_keep_their_underscores_equal_signs_and_spaces(self):
        line = "--output_dir=runs/a_b=c --run-name 'my_run of été' --train_dir 'data/my photos'"
        assert parse(line) == {"output_dir": "runs/a_b=c", "run_name": "my_run of été", "train_dir": "data/my photos"}

    def test_last_of_two_wins(self):
        """`mlflow run` appends -P values behind those of MLproject's own command."""
        assert parse("--seed 1 --seed=2 --lr_head 1 --lr-head 2") == {"seed": "2", "lr_head": "2"}

    def test_no_abbreviations(self):
        """An abbreviation would silently mean something else once a longer flag is added."""
        with pytest.raises(UserError, match="flag '--warm' is unknown"):
            parse("--warm 3")

    def test_number_below_zero_is_a_value_not_a_flag(self):
        for number in ("-1", "-0.5", "-.5", "-1e-3", "-1E+2"):
            assert parse(f"--lr_head {number}") == {"lr_head": number}
