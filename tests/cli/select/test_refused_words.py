"""Words that are refused, and data that leaves a choice open: one message, exit code 2, no run."""

import pytest

from flowerml.cli.commands.experiments import select
from flowerml.errors import UserError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --family"),
        (["--family", "cnn", "--by", "val_loss"], "invalid choice: 'val_loss'"),
        (["--family", "cn"], "invalid choice: 'cn'"),
        (["--family", "cnn", "--seeds", "11,x"], "--seeds is '11,x'. Allowed: whole numbers"),
        (["--family", "cnn", "--seeds", "11,11"], "none twice"),
        (["--family", "cnn", "--seeds", ""], "--seeds is ''"),
        (
            ["--family", "cnn", "--split-digest", "xyz"],
            "--split-digest is 'xyz'. Allowed: the digest's first characters",
        ),
        (["--family", "cnn", "--data-digest", "%"], "--data-digest is '%'"),
        (["--family", "cnn", "--campaign", "a'b\"c"], "--campaign is"),
        (["--family", "cnn", "--include", "final"], "invalid choice: 'final'"),
        (["--family", "cnn", "--force"], "give it with --register"),
        (["--family", "cnn", "--register", "--no-record"], "exclude each other"),
        (["--family", "cnn", "--experiment", "x", "--no-record"], "exclude each other"),
        (["--family", "cnn"], "no run of kind train of family cnn to choose from"),
        (["--family", "cnn", "--campaign", "spring"], "no run of kind train of family cnn of campaign spring"),
    ],
)
def test_a_mistake_is_a_line_and_leaves_no_run(made, words, message):
    with pytest.raises(UserError) as caught:
        select.run(words)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert made.client.search_runs([one.experiment_id for one in made.client.search_experiments()]) == []


def test_several_digests_are_listed(everything):
    with pytest.raises(UserError) as caught:
        select.run(["--family", "cnn"])
    assert "the runs are of 3 data and split digests" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4
