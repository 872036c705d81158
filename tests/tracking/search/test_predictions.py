"""Per-picture results of candidate runs, from their `predictions.csv` on a real MLflow store (sqlite)."""

import os

import pytest

from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns
from tests.tracking.made_runs import TOTAL

CNN = Scope(family="cnn")


class TestPictureResults:
    def test_are_those_of_each_run(self, made):
        ids = [made.put(seed=seed, hits=hits, predictions=True) for seed, hits in ((11, 90), (23, 80))]
        tracked = TrackedRuns()
        results = tracked.pictures(tracked.find(CNN))
        assert list(results) == ids
        assert [int(results[run_id].right.sum()) for run_id in ids] == [90, 80]
        assert results[ids[0]].ids == tuple(f"rose/{i:03d}.jpg" for i in range(TOTAL))
        assert tracked.remarks == []

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (None, "no predictions.csv"),
            ("", "predictions.csv can't be used (no column image)"),
            ("image,label\na,b\n", "predictions.csv can't be used (no column predicted)"),
            ("image,label,predicted\na,rose\n", "predictions.csv can't be used (a row is cut off)"),
            (
                "image,label,predicted\na,x,x\na,x,x\n",
                "predictions.csv can't be used (per-picture results name a picture twice",
            ),
            (
                "image,label,predicted\n",
                "predictions.csv can't be used (per-picture results need one value per picture",
            ),
            (b"image,label,predicted\n\xff,x,x\n", "predictions.csv can't be used ('utf-8' codec can't decode"),
        ],
    )
    def test_of_a_run_whose_file_is_missing_or_broken_are_left_out_with_a_remark(self, made, tmp_path, text, reason):
        good, bad = made.put(predictions=True), made.put(seed=23)
        if text is not None:
            path = tmp_path / "predictions.csv"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            made.client.log_artifact(bad, str(path))
        tracked = TrackedRuns()
        assert list(tracked.pictures(tracked.find(CNN))) == [good]
        (remark,) = tracked.remarks
        assert remark.startswith(f"a run has no per-picture results: {reason}")
        assert remark.endswith(f": a-s23 ({bad[:8]})")
        assert "\n" not in remark

    def test_missing_for_one_reason_in_many_runs_are_one_remark(self, made):
        for seed in range(8):
            made.put(seed=seed)
        tracked = TrackedRuns()
        tracked.pictures(tracked.find(CNN))
        (remark,) = tracked.remarks
        assert remark.startswith("8 runs have no per-picture results: no predictions.csv: a-s0 (")
        assert remark.endswith(") and 2 more")

    def test_are_fetched_without_progress_bars_and_the_setting_is_restored(self, made, capfd, monkeypatch):
        made.put(predictions=True)
        for before in (None, "true"):
            if before:
                monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", before)
            tracked = TrackedRuns()
            tracked.pictures(tracked.find(CNN))
            assert os.environ.get("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR") == before
        assert "Downloading" not in capfd.readouterr().err
