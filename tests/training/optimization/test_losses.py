"""Training losses against hand computation and the papers' formulas."""

import math

import pytest
import torch

from flowerml.training.losses import example_losses

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def cross_entropy_by_hand(targets: list[list[float]], weights=(1.0, 1.0, 1.0)) -> list[float]:
    rows = zip(LOGITS.tolist(), targets, strict=True)
    return [
        -sum(w * share * log for w, share, log in zip(weights, target, log_softmax(row), strict=True))
        for row, target in rows
    ]


def test_plain_cross_entropy_is_one_number_per_example():
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.0)
    assert found.tolist() == pytest.approx(cross_entropy_by_hand([[1, 0, 0], [0, 1, 0]]))


def test_smoothing_spreads_its_share_over_all_classes():
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.3)
    assert found.tolist() == pytest.approx(cross_entropy_by_hand([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))


def test_soft_targets_are_weighted_and_smoothed():
    targets = [[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]]
    assert example_losses(LOGITS, torch.tensor(targets), smoothing=0.0).tolist() == pytest.approx(
        cross_entropy_by_hand(targets)
    )
    smoothed = [[0.7 * share + 0.1 for share in row] for row in targets]
    assert example_losses(LOGITS, torch.tensor(targets), smoothing=0.3).tolist() == pytest.approx(
        cross_entropy_by_hand(smoothed)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_hard_labels_equal_one_hot_targets(smoothing):
    weights = torch.tensor([0.5, 2.0, 1.0])
    labels = torch.tensor([0, 1])
    hard = example_losses(LOGITS, labels, smoothing=smoothing, class_weights=weights)
    soft = example_losses(LOGITS, torch.eye(3)[labels], smoothing=smoothing, class_weights=weights)
    assert torch.allclose(hard, soft)


def test_class_weights_multiply_each_class_term():
    weights = (0.5, 2.0, 1.0)
    hard = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.0, class_weights=torch.tensor(weights))
    assert hard.tolist() == pytest.approx(cross_entropy_by_hand([[1, 0, 0], [0, 1, 0]], weights))
    mixed = [[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]]
    soft = example_losses(LOGITS, torch.tensor(mixed), smoothing=0.0, class_weights=torch.tensor(weights))
    assert soft.tolist() == pytest.approx(cross_entropy_by_hand(mixed, weights))


def test_focal_loss_is_the_papers_formula():
    """(1 - p)^gamma times the cross entropy (Lin et al. 2017, equation 4), with its alpha as class weights."""
    weights = (0.5, 2.0, 1.0)
    found = example_losses(
        LOGITS, torch.tensor([0, 1]), smoothing=0.0, focal_gamma=2.0, class_weights=torch.tensor(weights)
    )
    own = [log_softmax(row)[label] for row, label in zip(LOGITS.tolist(), (0, 1), strict=True)]
    expected = [-w * (1 - math.exp(log)) ** 2 * log for w, log in zip(weights, own, strict=False)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "targets", [torch.tensor([0, 1]), torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]])], ids=["labels", "shares"]
)
def test_focal_loss_with_gamma_0_is_the_cross_entropy(targets):
    options = {"smoothing": 0.3, "class_weights": torch.tensor([0.5, 2.0, 1.0])}
    plain = example_losses(LOGITS, targets, **options)
    assert example_losses(LOGITS, targets, focal_gamma=1e-9, **options).tolist() == pytest.approx(
        plain.tolist(), rel=1e-6
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_at_probability_1_has_a_finite_gradient(gamma):
    """p is 1 in fp32 there, and the power's derivative at 0 is infinite below gamma 1."""
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    example_losses(logits, torch.tensor([0]), smoothing=0.0, focal_gamma=gamma).sum().backward()
    assert logits.grad.isfinite().all()


def test_logit_offsets_are_added_before_the_softmax():
    offsets = torch.tensor([-1.0, 0.5, -3.0])
    found = example_losses(LOGITS, torch.tensor([0, 1]), smoothing=0.1, logit_offsets=offsets)
    assert torch.equal(found, example_losses(LOGITS + offsets, torch.tensor([0, 1]), smoothing=0.1))


def test_half_precision_logits_are_cast_to_fp32():
    found = example_losses(LOGITS.bfloat16(), torch.tensor([0, 1]), smoothing=0.1)
    assert found.dtype is torch.float32
    assert torch.equal(found, example_losses(LOGITS.bfloat16().float(), torch.tensor([0, 1]), smoothing=0.1))
