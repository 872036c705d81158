"""Exit codes, what goes to stderr and stdout, `--help` and `--version` of all commands."""

import pytest

import flowerml
from flowerml.cli.main import COMMANDS, main, run_command
from flowerml.errors import RunFailed, UserError

EVERY = ", ".join(COMMANDS)


class TestExitCodes:
    """0 well, 1 a run failed, 2 wrong input, 130 stopped by hand; the line goes to stderr, stdout stays for results."""

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ("train --lr-head abc", "--lr-head is 'abc'. Allowed: number, > 0, <= 10, or auto"),
            (
                "train --lr-haed 1",
                "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them",
            ),
            ("train --jsn", "flag '--jsn' is unknown. Did you mean --json? flowerml train --help lists them"),
            (
                "train --epochs 2 --warmup-epochs 3",
                "--warmup-epochs 3 is longer than the run (--epochs 2): lower it or train longer",
            ),
            ("eval", "the following arguments are required: --checkpoint. flowerml eval --help lists the flags"),
            (
                "eval --checkpoint x --spilt val",
                "flag '--spilt' is unknown. Did you mean --split? flowerml eval --help lists them",
            ),
            ("eval --checkpoint x --workers two", "--workers is 'two'. Allowed: whole number, >= 0, <= 256, or auto"),
            ("eval --checkpoint x --workers -1", "--workers is '-1'. Allowed: whole number, >= 0, <= 256, or auto"),
            (
                "eval --checkpoint x --train_dir a --test_dir b",
                (
                    "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the"
                    " second those of it"
                ),
            ),
            ("dataset", "the following arguments are required: action. flowerml dataset --help lists the flags"),
            ("dataset make --size 31", "--size is '31'. Allowed: whole number, 32 to 2048"),
            ("dataset make --per-class 0", "--per-class is '0'. Allowed: whole number, 1 to 100000"),
            ("dataset make --per_class many", "--per-class is 'many'. Allowed: whole number, 1 to 100000"),
            ("dataset make --seed -1", "--seed is '-1'. Allowed: whole number, 0 to 2147483648"),
            (
                "dataset make --sise 64",
                "flag '--sise' is unknown. Did you mean --size? flowerml dataset --help lists them",
            ),
            ("trian", f"command 'trian' is unknown. Did you mean train? Allowed: {EVERY}"),
            ("evaluate --checkpoint x", f"command 'evaluate' is unknown. Did you mean eval? Allowed: {EVERY}"),
            ("data-set", f"command 'data-set' is unknown. Did you mean dataset? Allowed: {EVERY}"),
            ("zzz", f"command 'zzz' is unknown. Allowed: {EVERY}"),
        ],
    )
    def test_wrong_input_is_one_line_on_stderr_and_exit_code_2(self, words, line, capsys):
        assert main(words.split()) == 2
        assert capsys.readouterr() == ("", f"error: {line}\n")

    @pytest.mark.parametrize(
        ("words", "value", "near"),
        [("eval --checkpoint x --split vall", "vall", "val"), ("dataset chek", "chek", "check")],
    )
    def test_mistyped_word_of_a_choice_gets_the_nearest(self, words, value, near, capsys):
        assert main(words.split()) == 2
        found = capsys.readouterr().err
        assert repr(value) in found
        assert f"Did you mean {near}?" in found
        assert found.count("\n") == 1

    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (UserError("no such folder"), 2, "error: no such folder\n"),
            (RunFailed("the loss is nan"), 1, "error: the loss is nan\n"),
            (KeyboardInterrupt(), 130, "stopped\n"),
        ],
    )
    def test_what_went_wrong_decides_the_code(self, error, code, line, capsys, monkeypatch):
        def run(_argv):
            raise error

        monkeypatch.setattr("flowerml.cli.commands.experiments.train.run", run)
        assert run_command("train", []) == code
        assert capsys.readouterr() == ("", line)

    def test_a_commands_own_code_is_the_exit_code(self, monkeypatch):
        seen = []
        monkeypatch.setattr("flowerml.cli.commands.data.dataset.run", lambda argv: seen.append(argv) or 1)
        assert main(["dataset", "check", "--json"]) == 1
        assert seen == [["check", "--json"]]

    def test_a_bug_of_ours_is_not_dressed_up_as_a_users_mistake(self, monkeypatch):
        monkeypatch.setattr("flowerml.cli.commands.experiments.train.run", lambda _argv: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            main(["train"])

    def test_help_and_version(self, capsys):
        assert main(["--help"]) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name}" in shown and about in shown for name, about in COMMANDS.items())
        assert main([]) == 2
        assert capsys.readouterr().out == shown
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"{flowerml.__version__}\n"
