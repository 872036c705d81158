"""`flowerml train --print-config` and `--config FILE`: the same settings again, and wrong files in one line."""

from pathlib import Path

import pytest
import yaml

from flowerml.cli.config_file import config_text, read_config
from flowerml.cli.given_settings import PROJECT_PARAMETERS, resolve_over
from flowerml.cli.main import main
from flowerml.errors import UserError
from flowerml.settings import Digests, config_id, resolve
from flowerml.settings.declaration import fields
from tests.cli.flags.entry_point import command, heavy
from tests.conftest import ROOT
from tests.settings.samples import OTHER

DIGESTS = Digests("d" * 64, "5" * 64, "hub:x")
ODD_NAMES = [
    "a: b",
    "# no comment",
    "[x], y",
    "null",
    "true",
    "007",
    "'q' and \"p\"",
    "é ü",
    "tab\there",
    "-",
    "two\nlines",
]


def read_back(settings, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(config_text(settings), encoding="utf-8")
    return resolve_over(read_config(file), "--config settings.yaml", {})


class TestRoundTrip:
    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"model": "clip_vitl14", "lr_head": "1e-4", "mean": "0.1,0.2,0.3", "compile": "false"},
            {"model": "relation_resnet18", "epochs": "7"},
            {"probe": "true", "model": "clip_vitb16", "epochs": "5"},
            {"folds": "5", "fold": "2", "cache_images": "auto", "classes": "folders"},
            {"trivialaugment": "true", "stop_epoch": "3", "test_dir": "my photos/test", "oversample": "100:3,500:2"},
            {"epochs": "2"},
        ],
    )
    def test_file_gives_the_same_settings_and_config_id(self, asked, tmp_path):
        settings, _ = resolve(asked)
        again, warnings = read_back(settings, tmp_path)
        assert again == settings
        assert config_id(again, DIGESTS) == config_id(settings, DIGESTS)
        assert warnings == []

    @pytest.mark.parametrize("name", ["run_name", "train_dir", "experiment"])
    @pytest.mark.parametrize("text", ODD_NAMES)
    def test_text_that_yaml_would_read_as_something_else(self, name, text, tmp_path):
        settings, _ = resolve({name: text})
        assert read_back(settings, tmp_path)[0] == settings

    def test_names_of_classes_keep_their_commas(self, tmp_path):
        settings, _ = resolve({"classes": ["a, b", "c", *ODD_NAMES]})
        assert read_back(settings, tmp_path)[0].classes == settings.classes

    def test_empty_name_is_no_forgotten_value(self, tmp_path):
        settings, _ = resolve({"run_name": ""})
        assert read_back(settings, tmp_path)[0] == settings

    def test_every_setting_has_its_line_and_its_words(self):
        text = config_text(resolve({})[0])
        assert list(yaml.safe_load(text)) == list(fields())
        lines = text.splitlines()
        for name, field in fields().items():
            (at,) = [index for index, line in enumerate(lines) if line.startswith(f"{name}: ")]
            assert lines[at - 1].startswith(f"# {field.description}")
        assert "\n# length of the schedule [epochs] (whole number, >= 1, <= 10000)\nepochs: 45\n" in text
        assert "; auto: the model's own)\nmean: auto\n" in text

    @pytest.mark.parametrize("name", OTHER)
    def test_every_setting_can_stand_in_a_file_alone(self, name, tmp_path):
        text = OTHER[name][0]
        (tmp_path / "one.yaml").write_text(f"{name}: {yaml.safe_dump(text, default_style=chr(34)).strip()}\n")
        assert read_config(tmp_path / "one.yaml") == {name: text}


class TestPrecedence:
    def test_flags_win_over_the_file_and_the_file_over_defaults(self):
        settings, _ = resolve_over({"lr_head": "3e-4", "epochs": "12"}, "--config x", {"lr_head": "5e-4"})
        assert (settings.lr_head, settings.epochs, settings.batch_size) == (5e-4, 12, 32)

    def test_auto_as_a_flag_puts_the_recipe_over_the_file(self):
        assert resolve_over({"lr_head": "3e-4"}, "--config x", {"lr_head": "auto"})[0].lr_head == 1e-3

    def test_printed_settings_of_a_longer_run_are_shortened_with_a_warning(self):
        printed = {"epochs": "45", "warmup_epochs": "5", "freeze_backbone_epochs": "3"}
        settings, warnings = resolve_over(printed, "--config x", {"epochs": "4"})
        assert (settings.warmup_epochs, settings.freeze_backbone_epochs) == (4, 3)
        assert warnings == ["warmup_epochs 5 (--config x) does not fit --epochs 4: 4 is used"]

    @pytest.mark.parametrize("epochs", ["3", "80"])
    def test_a_backbone_that_is_frozen_for_the_whole_run_stays_so(self, epochs):
        for asked in ({"model": "relation_resnet18"}, {"probe": True, "model": "clip_vitb16"}):
            base = resolve(asked)[0].model_dump(mode="json")
            assert resolve_over(base, "--like x", {"epochs": epochs})[0].freeze_backbone_epochs == int(epochs)

    def test_a_length_that_is_given_is_refused_as_ever(self):
        with pytest.raises(UserError, match=r"^--warmup-epochs 5 is longer than the run"):
            resolve_over({}, "--config x", {"epochs": "4", "warmup_epochs": "5"})

    def test_a_length_that_is_given_hides_that_of_the_file(self):
        settings, warnings = resolve_over({"warmup_epochs": "5"}, "--config x", {"epochs": "4", "warmup_epochs": "2"})
        assert (settings.warmup_epochs, warnings) == (2, [])

    def test_contradiction_with_the_file_names_it(self):
        with pytest.raises(UserError, match=r"^with --config x: --trivialaugment does not go with --randaugment 9"):
            resolve_over({"randaugment": "9"}, "--config x", {"trivialaugment": "true"})

    def test_wrong_flag_is_told_of_without_the_file(self):
        with pytest.raises(UserError, match=r"^--lr-head is 'abc'"):
            resolve_over({"epochs": "9"}, "--config x", {"lr_head": "abc"})


class TestUnderMlflowRun:
    """It gives each declared parameter as a flag, also those that nobody has typed."""

    def test_parameters_are_those_of_mlproject(self):
        project = yaml.safe_load((ROOT / "MLproject").read_text())
        assert set(PROJECT_PARAMETERS) == set(project["entry_points"]["train"]["parameters"])

    def test_default_that_hides_a_value_of_the_file_is_refused(self, monkeypatch):
        base, flags = {"model": "clip_vitb16", "val_split": "0.20"}, {"model": "convnextv2_large", "val_split": "0.2"}
        assert resolve_over(base, "--config x", flags)[0].model == "convnextv2_large"
        monkeypatch.setenv("MLFLOW_RUN_ID", "a" * 32)
        with pytest.raises(UserError, match=r"^--config x has model clip_vitb16, and `mlflow run` gives --model conv"):
            resolve_over(base, "--config x", flags)
        assert resolve_over(base, "--config x", {**flags, "model": "clip_vitb16"})[0].model == "clip_vitb16"


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("epochs: 3\nlr_haed: 1\n", "line 2: setting 'lr_haed' is unknown. Did you mean lr_head?"),
            ("epochs: three\n", "line 1: epochs is 'three'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
            ("\nepochs: [1, 2]\n", "line 2: epochs is ['1', '2']. Allowed: whole number, >= 1, <= 10000 epochs"),
            ("amp: yes\n", "line 1: amp is 'yes'. Allowed: true or false"),
            ("model: convnextv2_larg\n", "line 1: model "),
            ("seed: 1\nepochs: 2\nseed: 3\n", "line 3: seed stands there twice (also in line 1)"),
            ("lr_head:\n", "line 1: lr_head is empty: give it a value, or leave the line out"),
            ("lr_head: {a: 1}\n", "line 1: lr_head is names with values (`name: value`); wanted is a single value"),
            ("- epochs\n", "line 1: the file is a list (`[a, b]`); wanted is names with values (`name: value`)"),
            ("just words\n", "line 1: the file is a single value; wanted is names with values"),
            ("", "line 1: the file is empty: wanted is NAME: VALUE, as `flowerml train --print-config` prints it"),
            ("epochs: 3\n  lr: [\n", "line 2: not YAML: "),
            ("lr-head: 1e-3\n", "line 1: setting 'lr-head' is unknown. Did you mean lr_head?"),
            ("1: 2\n", "line 1: setting '1' is unknown."),
        ],
    )
    def test_one_line_with_its_number(self, text, line, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Path("f.yaml").write_text(text)
        assert main(["train", "--config", "f.yaml"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"error: f.yaml, {line}")
        assert shown.err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir() if path.suffix not in (".db", ".yaml")] == []

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ("--config no.yaml", "--config no.yaml can't be read: No such file or directory"),
            ("--config .", "--config . is a folder: name a YAML file"),
            ("--config /dev/zero", "--config /dev/zero is larger than 1,000,000 bytes: it can't be one"),
            ("--config latin.yaml", "latin.yaml, line 2: not UTF-8: save the file in UTF-8"),
            (
                "--print-config --json",
                "--print-config prints YAML and --json the result of a training: give one of them",
            ),
            ("--config", "argument --config: expected one argument. flowerml train --help lists the flags"),
        ],
    )
    def test_other_refusals(self, words, line, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        Path("latin.yaml").write_bytes("seed: 3\nrun_name: é\n".encode("latin-1"))
        assert main(["train", *words.split()]) == 2
        assert capsys.readouterr() == ("", f"error: {line}\n")


def test_print_config_answers_without_torch_and_what_it_prints_trains_the_same(tmp_path):
    code, shown, said, modules = command("train", "--print-config", "--lr_head", "3e-4", "--model", "clip_vitb16")
    assert (code, said) == (0, "")
    assert heavy(modules) == set()
    file = tmp_path / "printed.yaml"
    file.write_text(shown, encoding="utf-8")
    code, again, said, _ = command("train", "--print-config", "--config", str(file))
    assert (code, again, said) == (0, shown, "")
    code, changed, said, _ = command("train", "--print-config", "--config", str(file), "--seed", "23")
    assert (code, said) == (0, "")
    assert [line for line in changed.splitlines() if line not in shown.splitlines()] == ["seed: 23"]
