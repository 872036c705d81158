"""`dataset make` and `check` with --kind relations."""

import json

import pytest

from tests.cli.dataset.dataset_helpers import files_in, one_line


class TestPairs:
    """`--kind relations`: two boxed things in a picture, annotations beside the pictures."""

    @pytest.fixture
    def made(self, dataset, tmp_path):
        code, out, err = dataset(
            "make", "--kind", "relations", "--per-class", 2, "--size", 64, "--train-dir", tmp_path / "scenes"
        )
        assert (code, out) == (0, "")
        assert "20 pairs in " in err
        return tmp_path / "scenes"

    def test_make_draws_pictures_and_annotations(self, made):
        names = set(files_in(made))
        assert {"annotations_train.json", "predicates.json", "objects.json", "train_image_metadata.json"} < names
        assert sum(name.endswith(".jpg") for name in names) >= 7

    def test_a_long_tail_where_asked(self, dataset, tmp_path):
        code, _, err = dataset(
            "make",
            "--kind",
            "relations",
            "--per-class",
            10,
            "--size",
            64,
            "--long-tail",
            "--train-dir",
            tmp_path / "tail",
        )
        assert code == 0
        assert "on 42," in err
        assert "outside 5" in err

    def test_check_counts_pairs_and_says_what_one_answer_can_reach(self, dataset, made):
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made)
        assert code == 0
        assert "20 usable pairs" in out
        assert "at most 100.0 % accuracy" in out
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made, "--json")
        found = json.loads(out)
        assert (code, found["pairs"], found["counts"]["inside"], found["bad"]) == (0, 20, 2, [])

    def test_check_lists_what_can_not_be_used(self, dataset, made):
        gone = sorted(made.glob("*.jpg"))[0]
        gone.unlink()
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made)
        assert code == 1
        assert f"  {gone.name}: " in out

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["check", "--kind", "relations"], "no annotations: name one with --annotations PATH"),
            (["check", "--annotations", "x.json"], "--annotations and --wording are for --kind relations"),
            (["check", "--kind", "relations", "--html"], "--html looks at whole pictures"),
            (["make", "--long-tail"], "--long-tail is for --kind relations"),
            (["make", "--kind", "relations", "--size", 40], "--size is 40. Allowed with --kind relations: 64 to 2048"),
            (["make", "--kind", "relations", "--per-class", 1], "--per-class is 1. Allowed with --kind relations"),
            (["make", "--kind", "roses"], "invalid choice: 'roses'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, dataset, tmp_path, words, reason):
        (tmp_path / "empty").mkdir()
        code, out, err = dataset(*words, "--train-dir", tmp_path / "empty")
        assert (code, out) == (2, "")
        assert reason in one_line(err)
