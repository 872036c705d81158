"""The line between a linear probe and a fine-tuned run: its ends, the choice on it, its files, and runs without one."""

import json
from dataclasses import replace

import pytest
import torch

from flowerml.errors import UserError
from flowerml.events import MemoryRecorder
from flowerml.models.weights.average import interpolate_states
from flowerml.runs.evaluate import Request as Evaluate
from flowerml.runs.evaluate import run_evaluation
from flowerml.runs.soup.evaluator import Request
from flowerml.runs.soup.interpolate import ALPHAS, format_interpolation, interpolate_runs
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

HALF = {"val_split": 0.5, "cutmix": 0.0, "mixup": 0.0}
PROBE = {"probe": True, "freeze_backbone_epochs": "auto", "lr_backbone": "auto"}


@pytest.fixture(scope="module")
def runs(train_small):
    """A linear probe and a fine-tuned run from one start."""
    return train_small(**HALF, **PROBE)[0].folder, train_small(**HALF, epochs=3)[0].folder


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    return interpolate_runs(Request(runs, tmp_path_factory.mktemp("between") / "out", workers=0))


def weights_of(path):
    return load_checkpoint(path).state_dict


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_point_is_no_worse_than_both_ends_on_the_choosing_half(made):
    accuracies = dict(made.curve)
    assert tuple(accuracies) == ALPHAS
    assert accuracies[made.alpha] == max(accuracies.values())
    assert made.n_choosing + made.judged.pictures == made.scores.total == 30


def test_the_weights_are_that_point(made, runs):
    ends = [weights_of(folder / "best.pth") for folder in runs]
    assert equal(weights_of(made.folder / "best.pth"), interpolate_states(*ends, made.alpha))
    half = interpolate_states(*ends, 0.5)
    for name, tensor in half.items():
        assert torch.allclose(tensor, (ends[0][name] + ends[1][name]) / 2, atol=1e-6)


def test_ends_are_the_runs_bit_for_bit(runs):
    ends = [weights_of(folder / "best.pth") for folder in runs]
    assert equal(interpolate_states(*ends, 0), ends[0])
    assert equal(interpolate_states(*ends, 1), ends[1])
    assert not equal(*ends)
    with pytest.raises(ValueError, match="no line between them"):
        interpolate_states(ends[0], {name: tensor for name, tensor in ends[1].items() if name != "head.bias"}, 0.5)


def test_its_files_say_what_it_is_and_evaluate_to_its_figures(made):
    written = json.loads((made.folder / "combine.json").read_text())
    assert written == json.loads(json.dumps(made.as_json()))
    evaluation = run_evaluation(Evaluate(made.folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
    assert evaluation.scores.accuracy == made.scores.accuracy == written["validation"]["accuracy"]
    text = format_interpolation(made)
    assert text.count("chosen\n") == 1
    gain = f"alpha {made.alpha:g}: gain {made.judged.gain:+.4f}"
    assert text.splitlines()[-1].startswith("no point is better" if made.alpha == 1 else gain)
    assert format_interpolation(replace(made, alpha=0.3)).splitlines()[-1].startswith("alpha 0.3: gain")
    assert format_interpolation(replace(made, alpha=1.0)).endswith("is the fine-tuned run itself")


def test_without_a_common_start_there_is_no_line(runs, tmp_path):
    checkpoint = load_checkpoint(runs[1] / "best.pth")
    other = tmp_path / "other.pth"
    save_checkpoint(other, replace(checkpoint, settings={**checkpoint.settings, "seed": 99}))
    with pytest.raises(UserError, match="both started at random"):
        interpolate_runs(Request((runs[0], other), tmp_path / "out", workers=0))
    assert not (tmp_path / "out").exists()
