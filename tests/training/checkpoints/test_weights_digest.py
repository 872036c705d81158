"""The digest of weights: of their values and names, not of the file."""

from dataclasses import replace

import pytest
import torch

from flowerml.prediction.delivered import for_delivery
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest
from tests.tracking.finished_runs import trained

STATE = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3), "empty": torch.zeros(0, dtype=torch.bfloat16)}


def test_a_file_and_what_is_delivered_of_it_have_one(tmp_path):
    checkpoint = replace(trained("cnn"), metrics={"val_accuracy": 0.25})
    save_checkpoint(tmp_path / "best.pth", checkpoint)
    save_checkpoint(tmp_path / "cnn_flowers.pth", for_delivery(checkpoint))
    both = {weights_digest(load_checkpoint(path).state_dict) for path in tmp_path.glob("*.pth")}
    assert both == {weights_digest(checkpoint.state_dict)}


@pytest.mark.parametrize(
    "change",
    [
        {"a": torch.arange(6.0).reshape(3, 2)},
        {"a": torch.arange(6.0).reshape(2, 3).double()},
        {"n": torch.tensor(4)},
        {"b": torch.tensor(4)},
    ],
)
def test_it_tells_values_shapes_types_and_names_apart(change):
    assert weights_digest({**STATE, **change}) != weights_digest(STATE)


def test_neither_the_order_nor_the_layout_counts():
    turned = dict(reversed([*STATE.items(), ("a", STATE["a"].T.contiguous().T)]))
    assert weights_digest(turned) == weights_digest(STATE)
