"""Rare classes: the formula of the weights, what oversampling does, and what both together really amount to."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from flowerml.data.balance import (
    Balance,
    balanced_weights,
    class_repeats,
    compute_balance,
    effective_weights,
    parse_oversampling,
)
from flowerml.errors import UserError
from flowerml.settings import resolve

NAMES = ("on", "under", "above", "below", "left", "right", "near", "next to", "inside", "outside")
COUNTS = (13103, 2911, 4977, 1743, 787, 654, 2411, 4115, 137, 38)
RULES = "100:3,500:2"


def labels_of(counts):
    return [label for label, count in enumerate(counts) for _ in range(count)]


@pytest.fixture(scope="module")
def relations():
    """The ten relations under both settings together: the case that has misled people."""
    return compute_balance(NAMES, labels_of(COUNTS), "balanced", RULES)


@pytest.mark.parametrize("counts", [COUNTS, (1, 1), (5, 1, 3), (679, 966, 695, 647, 894)])
def test_balanced_weights_are_scikit_learns(counts):
    labels = np.array(labels_of(counts))
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert balanced_weights(counts) == pytest.approx(expected.tolist(), rel=1e-12)


def test_balanced_weights_make_every_class_count_the_same():
    assert compute_balance("abc", labels_of((10, 2, 40)), "balanced", "none").effective_imbalance == pytest.approx(1)
    assert compute_balance("abc", labels_of((10, 2, 40)), "none", "none").effective_imbalance == pytest.approx(20)


def test_rules_are_read_smallest_bound_first():
    assert parse_oversampling("100:3,500:2") == parse_oversampling("500:2,100:3") == [(100, 3), (500, 2)]
    assert parse_oversampling("1000:12") == [(1000, 12)]
    assert parse_oversampling("none") == []


def test_a_bound_is_exclusive_and_the_first_rule_wins():
    rules = [(100, 3), (500, 2)]
    assert class_repeats([1, 99, 100, 499, 500, 10_000], rules) == [3, 3, 2, 2, 1, 1]
    assert class_repeats([1, 10_000], []) == [1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "100:",
        ":3",
        "100:3,",
        "100:0",
        "0:3",
        "100:-1",
        "100:1.5",
        "a:b",
        "100:3;500:2",
        "100:3 500:2",
        "None",
    ],
)
def test_other_rules_are_refused_before_anything_is_read(text):
    with pytest.raises(UserError, match=r"--oversample is .*Allowed: none or"):
        resolve({"model": "convnextv2_atto", "weights": "none", "oversample": text})


def test_every_accepted_rule_can_be_parsed():
    for text in ("none", "100:3", "100:3,500:2", "7:1"):
        settings, _ = resolve({"model": "convnextv2_atto", "weights": "none", "oversample": text})
        assert isinstance(parse_oversampling(settings.oversample), list)


def test_the_relations_seen_in_an_epoch(relations):
    seen = dict(zip(relations.classes, relations.examples_per_epoch, strict=True))
    assert relations.counts == COUNTS
    assert relations.repeats == (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)
    assert seen["inside"] == 274
    assert seen["outside"] == 114
    assert {name: seen[name] for name in NAMES[:8]} == dict(zip(NAMES[:8], COUNTS[:8], strict=True))
    assert sum(relations.examples_per_epoch) == sum(COUNTS) + 137 + 2 * 38 == 31_089


def test_weights_and_repeats_multiply(relations):
    """Weights come from the counts before oversampling: one picture of `outside` pulls 3 x 13103 / 38 times one of
    `on`.
    """
    assert relations.weights == pytest.approx(tuple(sum(COUNTS) / (10 * count) for count in COUNTS))
    assert relations.effective_ratio == pytest.approx(3 * 13103 / 38)
    assert round(relations.effective_ratio) == 1034
    assert relations.effective_imbalance == pytest.approx(3)


def test_each_tool_alone():
    weighted = compute_balance(NAMES, labels_of(COUNTS), "balanced", "none")
    assert weighted.effective_ratio == pytest.approx(13103 / 38)
    assert weighted.effective_imbalance == pytest.approx(1)
    assert weighted.examples_per_epoch == COUNTS
    repeated = compute_balance(NAMES, labels_of(COUNTS), "none", RULES)
    assert repeated.weights is None
    assert repeated.effective_ratio == pytest.approx(3)
    assert repeated.effective_imbalance == pytest.approx(13103 / 114)
    untouched = compute_balance(NAMES, labels_of(COUNTS), "none", "none")
    assert (untouched.effective_ratio, untouched.effective_imbalance) == (1, pytest.approx(13103 / 38))


def test_the_printed_lines_hold_the_figures(relations):
    lines = relations.summary_lines()
    assert len(lines) == 11
    rows = dict(line.strip().split(": ", 1) for line in lines[:10])
    assert rows["inside"].startswith("137 x2 = 274, weight 22.54")
    assert rows["outside"].startswith("38 x3 = 114, weight 81.25")
    assert rows["on"].startswith("13103 x1 = 13103, weight 0.24")
    assert "344.82:1" in lines[-1]
    assert "3.00:1" in lines[-1]
    assert "1,034.45:1" in lines[-1]
    assert "31,089 per epoch" in lines[-1]


def test_lines_without_any_tool_show_plain_counts():
    lines = compute_balance(("a", "b"), [0, 0, 1, 0, 0], "none", "none").summary_lines()
    assert lines[0].strip() == "a: 4 x1 = 4, weight 1.00"
    assert "counts 4.00:1" in lines[-1]
    assert "5 per epoch" in lines[-1]


def test_counts_are_in_label_order_whatever_the_order_of_examples():
    assert compute_balance(("a", "b", "c"), [2, 0, 2, 1, 2, 0], "none", "3:2").counts == (2, 1, 3)
    assert compute_balance(("a", "b", "c"), [2, 0, 2, 1, 2, 0], "none", "3:2").repeats == (2, 2, 1)


def test_a_balance_is_a_value():
    assert Balance(("a",), (3,), (2,), None).examples_per_epoch == (6,)


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_effective_weights_are_the_papers_but_for_their_scale(beta):
    """Cui et al. 2019, equation 4: (1 - beta) / (1 - beta^n); ours have mean 1 over the training pictures."""
    papers = [(1 - beta) / (1 - beta**count) for count in COUNTS]
    ours = effective_weights(COUNTS, beta)
    assert [w / ours[0] for w in ours] == pytest.approx([w / papers[0] for w in papers], rel=1e-9)
    assert sum(count * w for count, w in zip(COUNTS, ours, strict=True)) == pytest.approx(sum(COUNTS))


def test_effective_weights_go_from_none_to_balanced():
    assert effective_weights(COUNTS, 0.0) == pytest.approx([1.0] * len(COUNTS))
    assert effective_weights(COUNTS, 1 - 1e-12) == pytest.approx(balanced_weights(COUNTS), rel=1e-6)


def test_effective_weights_reach_the_balance():
    made = compute_balance("abc", labels_of((10, 2, 40)), "effective", effective_beta=0.9)
    assert made.weights == pytest.approx(effective_weights((10, 2, 40), 0.9))
    assert 1 < made.effective_imbalance < 20


def test_logit_adjustment_offsets_are_the_log_shares_of_an_epoch():
    made = compute_balance("abc", labels_of((10, 2, 40)), logit_adjustment=2.0)
    assert made.logit_offsets == pytest.approx([2 * np.log(share / 52) for share in (10, 2, 40)])
    assert compute_balance("abc", labels_of((10, 2, 40))).logit_offsets is None


def test_logit_adjustment_does_not_repeat_what_oversampling_has_evened_out():
    made = compute_balance("ab", labels_of((10, 20)), oversample="15:2", logit_adjustment=1.0)
    assert made.logit_offsets == pytest.approx([np.log(0.5)] * 2)


def test_the_prior_is_what_is_left_of_the_imbalance():
    """One full adjustment, or balanced weights, leave nothing; both together turn it round, and the figure shows it."""
    labels = labels_of((10, 2, 40))
    assert compute_balance("abc", labels).prior == pytest.approx([10 / 52, 2 / 52, 40 / 52])
    assert compute_balance("abc", labels, logit_adjustment=1.0).prior == pytest.approx([1 / 3] * 3)
    assert compute_balance("abc", labels, "balanced").prior == pytest.approx([1 / 3] * 3)
    assert compute_balance("abc", labels, "balanced", logit_adjustment=1.0).effective_imbalance == pytest.approx(20)
