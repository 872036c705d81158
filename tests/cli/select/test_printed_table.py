"""What a selection prints: table, reasons, remarks, words, in English and French, and how it is shortened."""

from flowerml.cli.commands.experiments import select
from tests.cli.select.candidates import NAMED
from tests.cli.select.select_command import select_json


class TestWhatIsPrinted:
    def test_table_reasons_remarks_words(self, everything, capsys):
        assert select.run([*NAMED, "--no-record"]) == 0
        shown = capsys.readouterr()
        lines = shown.out.splitlines()
        assert lines[0] == "cnn: train, data dddddddd, split 55555555"
        assert any(
            line.split() == ["1", "i-accura", "net", "3", "0.9167", "0.0289", *line.split()[6:]] for line in lines
        )
        assert "not eligible: 8" in lines
        assert "  net lacks on: lacks seed 47" in lines
        assert any(line.startswith("remarks: ") for line in lines)
        assert lines[-1].startswith("All figures are after selection")
        assert any(
            line.startswith("net i-accura is the first of 8 eligible configurations (8 not eligible)") for line in lines
        )
        assert shown.err == ""

    def test_in_french_with_the_same_figures(self, everything, capsys):
        """Reasons and remarks are messages about runs, and JSON is read by programs: both stay English."""
        english, french = [], []
        for shown, words in ((english, []), (french, ["--lang", "fr"])):
            assert select.run([*NAMED, "--no-record", *words]) == 0
            shown += capsys.readouterr().out.splitlines()
        assert french[0] == "cnn\u00a0: train, données dddddddd, split 55555555"
        place, of_english = (
            next(number for number, line in enumerate(lines) if line.split()[:1] == ["1"])
            for lines in (french, english)
        )
        head, first = french[place - 2], french[place]
        assert head.split()[:4] == ["config", "modèle", "n", "moyenne"]
        assert first.split() == english[of_english].split()
        assert head.index("moyenne") + len("moyenne") == first.index("0.9167") + len("0.9167"), "numbers to the right"
        assert "non éligibles\u00a0: 8" in french
        assert "  net lacks on: lacks seed 47" in french
        assert french[-1].startswith("Tous les chiffres sont mesurés après sélection")
        assert select_json(capsys, *NAMED, "--no-record", "--lang", "fr")["words"].startswith(
            "net i-accura is the first"
        )

    def test_a_name_with_brackets_is_no_markup(self, made, capsys):
        made.seeds("a", 90, 91, 92, model="timm:[bold]net[/bold]")
        select.run(["--family", "cnn", "--no-record"])
        assert "timm:[bold]net[/bold]" in capsys.readouterr().out

    def test_where_the_table_is_too_wide_nothing_is_cut_off(self, made, capsys):
        made.seeds("a" * 64, 90, 91, 93, model="m" * 100)
        select.run(["--family", "cnn", "--no-record"])
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        place = next(number for number, line in enumerate(lines) if line[:1] == ["1"])
        assert lines[place] == ["1", "m" * 100, "0.9133", "0.8754–0.9513*", "0.9000"]
        assert lines[place + 1 : place + 3] == [["aaaaaaaa", "sd", "0.0153", "0.9100"], ["F1", "0.5000", "0.9300"]]

    def test_much_is_shortened_and_says_so(self, made, capsys, monkeypatch):
        monkeypatch.setattr("flowerml.cli.select_table._ROWS", 2)
        monkeypatch.setattr("flowerml.cli.select_table._LINES", 1)
        for config in "abc":
            made.seeds(config, 90, 91, 92)
            made.put(f"{config}x")
        select.run(["--family", "cnn", "--no-record"])
        shown = capsys.readouterr().out
        assert "  and 1 more (the run's table.csv has all)" in shown
        assert "not eligible: 3\n  net ax: lacks seed 23, 47\n  and 2 more (the run's decision.md has all)" in shown
