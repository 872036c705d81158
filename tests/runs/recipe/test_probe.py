"""Linear probes: the head alone is trained, on features; what is left is a whole model, as of any other run."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerml.data.scan_cache import use_cache_folder
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.data.transforms import EvaluationTransform
from flowerml.errors import UserError
from flowerml.events import MemoryRecorder
from flowerml.prediction import load_network
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.settings import resolve
from flowerml.tasks.flowers import FlowersTask
from flowerml.training import device
from flowerml.training.train_step import TrainStep
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole, at_the_end, epoch

pytestmark = pytest.mark.slow

# `auto` is as leaving out what other runs here are given.
PROBE = {
    "probe": True,
    "freeze_backbone_epochs": "auto",
    "lr_backbone": "auto",
    "mixup": 0.2,
    "class_weights": "balanced",
}


@pytest.fixture(scope="module")
def test_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("test")
    make_flowers(root, per_class=2, size=64, seed=9)
    return root


@pytest.fixture(scope="module")
def probe(train_small, test_folder, _cache):
    """One finished probe with dropout, mixup and class weights."""
    with use_cache_folder(_cache):
        return train_small(**PROBE, dropout=0.2, test_dir=str(test_folder))


def shares_in(path):
    """Image names (N) and probabilities (N, C) of a predictions.csv."""
    with path.open() as handle:
        rows = list(csv.DictReader(handle))
    shares = [[share for name, share in row.items() if name.startswith("p_")] for row in rows]
    return [row["image"] for row in rows], np.array(shares, dtype=float)


def shares_on_images(folder, examples):
    network = load_network(folder / "best.pth")
    view = EvaluationTransform(network.description)
    with torch.inference_mode():
        return network(torch.stack([view(example.read()) for example in examples])).softmax(dim=1).numpy()


def test_the_best_model_gives_on_images_what_its_head_gave_on_features(probe, flowers, test_folder, tmp_path):
    finished, recorder = probe
    task = FlowersTask()
    settings, _ = resolve({**SMALL, **PROBE, "train_dir": str(flowers)})
    data = task.prepare(settings)
    names, shares = shares_in(finished.folder / "predictions.csv")
    assert names == [example.id for example in data.val]
    assert np.allclose(shares, shares_on_images(finished.folder, data.val), atol=1e-5)
    tested, _ = task.test_examples(test_folder, data.classes, data.split, settings, None)
    names, shares = shares_in(finished.folder / "test" / "predictions.csv")
    assert names == [example.id for example in tested]
    assert np.allclose(shares, shares_on_images(finished.folder, tested), atol=1e-5)
    assert {value for _, value in recorder.metric("lr_backbone")} == {0.0}
    copied = shutil.copy(finished.folder / "best.pth", tmp_path)  # the evaluation's files are written beside it
    evaluation = run_evaluation(Request(Path(copied), "val"), lambda *_: MemoryRecorder())
    assert evaluation.scores.accuracy == finished.scores.accuracy


def test_only_the_head_is_trained_and_the_folder_is_as_always(probe, small_run, train_small, capsys):
    finished, _ = probe
    capsys.readouterr()
    other, _ = train_small(**PROBE | {"lr_head": 0.1})
    assert "features of 60 pictures are there from before" in capsys.readouterr().err
    states = [torch.load(run.folder / "best.pth", weights_only=True)["state_dict"] for run in (finished, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] if name.startswith("backbone."))
    assert not torch.equal(states[0]["head.weight"], states[1]["head.weight"])
    names = [{path.name for path in run.folder.iterdir()} for run in (other, small_run[0])]
    assert names[0] | {"images"} == names[1], "a probe sees no pictures, so it has none by epoch"
    assert json.loads((other.folder / "settings.json").read_text())["identity"]["probe"] is True


@pytest.mark.parametrize("at", [epoch(2), at_the_end], ids=["epoch 2", "figures"])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(begin, probe, test_folder, tmp_path, at):
    probing = {**PROBE, "test_dir": str(test_folder)}
    begin(at, checkpoint_every_steps=2, **probing)
    begin(**probing)
    assert_whole(tmp_path / "out", probe[0])


def test_the_steps_of_a_probe_have_one_thread(train_small, monkeypatch):
    """Its weights then do not depend on the number of cores either. A large head's have all."""
    seen, queue = [], TrainStep.queue
    monkeypatch.setattr(TrainStep, "queue", lambda *args: (seen.append(torch.get_num_threads()), queue(*args))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_small(**PROBE, epochs=1)
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
        seen.clear()
        monkeypatch.setattr(device, "_SMALL_STEP", 0)
        train_small(**PROBE, epochs=1)
        assert set(seen) == {2}
    finally:
        torch.set_num_threads(before)


def test_a_run_that_fails_has_its_best_model_so_far(begin, tmp_path, monkeypatch):
    from flowerml.training import trainer
    from flowerml.training.train_step import NotFinite

    train_epoch = trainer.Trainer.train_epoch

    def fail_in_second(self, number, *upcoming):
        if number == 2:
            raise NotFinite("the loss is nan")
        return train_epoch(self, number, *upcoming)

    monkeypatch.setattr(trainer.Trainer, "train_epoch", fail_in_second)
    with pytest.raises(NotFinite):
        begin(**PROBE)
    assert torch.isfinite(load_network(tmp_path / "out" / "best.pth")(torch.zeros(1, 3, 32, 32))).all()


def test_of_pairs_it_is_refused(scenes):
    with pytest.raises(UserError, match=r"--probe is for whole pictures, and relation:timm:test_resnet takes pairs"):
        resolve({"model": "relation:timm:test_resnet", "train_dir": str(scenes), "probe": "true"})
