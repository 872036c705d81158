"""Intervals and the comparison of the first places, from the predictions of single pictures."""

from tests.cli.select.select_command import select_json


class TestPictures:
    def test_of_the_first_places_give_intervals_and_a_comparison(self, made, capsys, monkeypatch):
        monkeypatch.setattr("flowerml.runs.select.COMPARED", 2)
        for place, config in enumerate("abc"):
            made.seeds(config, 95 - place, 94 - place, 93 - place, predictions=True)
        found = select_json(capsys, "--family", "cnn", "--no-record")
        over = [one["interval_95"] and one["interval_95"]["over"] for one in found["ranking"]]
        assert over == ["pictures and seeds", "pictures and seeds", "seeds"]
        assert found["comparison"]["separated"] is False
        assert "over pictures and seeds, paired): not separated" in found["words"]
        assert [one["p_best"] is None for one in found["ranking"]] == [False, False, True]

    def test_that_are_missing_are_a_remark(self, made, capsys):
        made.seeds("a", 95, 94, 93, predictions=True)
        made.seeds("b", 91, 90, 92)
        found = select_json(capsys, "--family", "cnn", "--no-record")
        (remark,) = found["remarks"]
        assert remark.startswith("3 runs have no per-picture results: no predictions.csv: b-s11")
        assert found["comparison"]["separated"] is None
