"""A run of the second task through the same engine: what it leaves, what it is measured against, resumed, without a
leak.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import flowerml
from flowerml.data.relations.records import RELATIONS
from flowerml.data.relations.vocabulary import load_vocabulary
from flowerml.data.relations.vrd import read_vrd, write_vrd
from flowerml.data.synthetic.scenes import make_scenes, relation_counts
from flowerml.events import Artifact, MemoryRecorder, Metrics
from flowerml.prediction import load_network
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.runs.train import run_training
from flowerml.settings import resolve

pytestmark = pytest.mark.slow

PAIRS = {
    "model": "relation:timm:test_resnet",
    "weights": "none",
    "img_size": 32,
    "epochs": 3,
    "lr_head": 1e-3,
    "workers": 0,
    "device": "cpu",
}
BASELINES = [
    "majority",
    "class prior",
    "box only, logistic regression",
    "box only, network",
    "box + category, logistic regression",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the runs of this file lie; what a frozen backbone saw is kept there too."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def train(scenes, place):
    """A function that trains with PAIRS and some changes; returns (what came of it, the recorder)."""

    def train(name, recorder=None, **changes):
        given = {**PAIRS, "train_dir": str(scenes), "output_dir": str(place / name), "runs_root": str(place), **changes}
        recorder = recorder or MemoryRecorder()
        return run_training(resolve(given)[0], lambda *_: recorder), recorder

    return train


@pytest.fixture(scope="module")
def run(train):
    """One finished run with features kept, weights by class, a plateau and logit adjustment."""
    return train("plain", class_weights="balanced", scheduler="plateau", monitor="val_mean_recall")


def test_every_promised_file_is_there(run):
    finished, recorder = run
    recorded = {event.path.name for event in recorder.events if isinstance(event, Artifact) and not event.folder}
    assert {
        "checks.txt",
        "baselines.json",
        "baselines.md",
        "probe.npz",
        "errors.html",
        "per_class.json",
        "best.pth",
    } <= recorded
    assert all((finished.folder / name).is_file() for name in recorded)
    assert "No heat maps: a relation is decided on" in (finished.folder / "errors.html").read_text("utf-8")


def test_mean_recall_is_logged_beside_accuracy_and_decides_where_it_is_the_monitor(run):
    finished, recorder = run
    by_epoch = recorder.metric("val_mean_recall")
    assert [step for step, _ in by_epoch] == [1, 2, 3]
    assert recorder.metric("best_val_mean_recall")[0][1] == max(value for _, value in by_epoch)
    assert recorder.metric("best_val_accuracy")[0][1] == finished.scores.accuracy


def test_recall_of_each_relation_has_its_interval(run):
    rows = json.loads((run[0].folder / "per_class.json").read_text())
    assert [row["class"] for row in rows] == list(RELATIONS)
    for row in rows:
        low, high = row["recall_interval_95"]
        assert 0 <= low <= row["recall"] <= high <= 1


def test_every_baseline_stands_beside_the_run(run):
    finished, recorder = run
    table = json.loads((finished.folder / "baselines.json").read_text())
    assert [row["name"] for row in table["rows"]] == [*BASELINES, "visual only, logistic regression", "plain"]
    own = table["rows"][-1]
    assert (own["accuracy"], own["mean_recall"]) == (finished.scores.accuracy, finished.scores.mean_recall)
    assert recorder.metric("baseline_majority_accuracy") == [(0, table["rows"][0]["accuracy"])]
    assert recorder.metric("baseline_visual_only_logistic_regression_mean_recall") == [
        (0, table["rows"][-2]["mean_recall"])
    ]
    assert recorder.tags()["flowerml.beats_baselines"] in ("true", "false")
    assert (finished.folder / "baselines.md").read_text().count("\n") == 2 + len(table["rows"])


def test_the_gap_to_training_and_consistency_under_swap_are_figures_of_the_run(run):
    finished, recorder = run
    trained = recorder.metric("train_accuracy")[0][1]
    assert recorder.metric("gap_accuracy")[0][1] == pytest.approx(trained - finished.scores.accuracy)
    assert 0 <= recorder.metric("swap_consistency_percent")[0][1] <= 100
    assert 0 < recorder.metric("swap_pairs")[0][1] <= finished.scores.total


def test_checks_are_told_before_the_training(train, capsys):
    finished, _ = train("told", epochs=1, class_weights="balanced", oversample="9:3")
    said = capsys.readouterr().err
    lines = (finished.folder / "checks.txt").read_text().splitlines()
    assert all(f"check: {line}" in said for line in lines)
    assert said.index("check: trainable parameters") < said.index("epoch 1/1")
    assert "check: oversampling 9:3" in said


def test_the_probe_holds_every_part_of_the_inputs_and_what_the_file_answers(run):
    folder = run[0].folder
    with np.load(folder / "probe.npz", allow_pickle=False) as probe:
        inputs = tuple(torch.from_numpy(probe[f"inputs_{place}"]) for place in range(3))
        assert [part.shape[1:] for part in inputs] == [(3, 32, 32), (3, 32, 32), (8,)]
        with torch.inference_mode():
            assert np.array_equal(load_network(folder / "best.pth")(inputs).numpy(), probe["logits"])


def test_eval_repeats_the_run_from_the_pictures(run):
    finished, _ = run
    recorder = MemoryRecorder()
    evaluation = run_evaluation(Request(finished.folder / "best.pth", "val", workers=0), lambda *_: recorder)
    assert evaluation.scores.confusion.tolist() == finished.scores.confusion.tolist()
    assert evaluation.scores.loss == pytest.approx(finished.scores.loss, abs=1e-5)
    assert recorder.metric("val_mean_recall") == [(0, evaluation.scores.mean_recall)]
    assert evaluation.headline == "mean_recall"


def test_kept_features_or_crops_the_same_run_but_for_the_last_digits(train, run):
    settings = {"class_weights": "balanced", "scheduler": "plateau", "monitor": "val_mean_recall", "amp": False}
    kept, looked = train("kept", **settings)[1], train("looked", cache_features=False, **settings)[1]
    for name in ("train_loss", "val_loss"):
        assert [value for _, value in kept.metric(name)] == pytest.approx(
            [value for _, value in looked.metric(name)], abs=2e-3
        )


def test_a_frozen_backbone_is_the_same_in_the_end(run, train):
    first, second = (
        torch.load(one.folder / "best.pth", weights_only=True)["state_dict"]
        for one in (run[0], train("again", seed=11, epochs=1)[0])
    )
    same = {name: torch.equal(first[name], second[name]) for name in first}
    assert all(equal for name, equal in same.items() if name.startswith("backbone."))
    assert not all(equal for name, equal in same.items() if name.startswith("head."))


class Stops(MemoryRecorder):
    """Ctrl-C once the second epoch has been recorded."""

    def record(self, event):
        super().record(event)
        if isinstance(event, Metrics) and "train_loss" in event.values and event.step == 2:
            raise KeyboardInterrupt


def test_interrupted_and_resumed_is_as_if_nothing_had_happened(train):
    whole, _ = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", Stops())
    resumed, recorder = train("cut")
    assert recorder.metric("train_loss")[0][0] == 1
    states = [torch.load(one.folder / "best.pth", weights_only=True)["state_dict"] for one in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert (whole.folder / "predictions.csv").read_bytes() == (resumed.folder / "predictions.csv").read_bytes()


def test_a_backbone_that_learns_trains_on_crops(train):
    finished, recorder = train("thawed", epochs=2, freeze_backbone_epochs=1, lr_backbone=1e-3)
    first, second = (dict(recorder.metric(name)) for name in ("lr_backbone", "train_loss"))
    assert set(first) == set(second) == {1, 2}
    assert "visual only, logistic regression" in (finished.folder / "baselines.md").read_text()


REMEDIES = [{"class_weights": "effective"}, {"focal_gamma": 2}, {"oversample": "100:2"}]


@pytest.mark.parametrize(
    "remedy", [{"logit_adjustment": 1}, *(pytest.param(each, marks=pytest.mark.slow) for each in REMEDIES)]
)
def test_each_remedy_for_a_long_tail_is_a_setting(train, remedy):
    name, value = next(iter(remedy.items()))
    finished, _ = train(f"remedy-{name}", epochs=1, **remedy)
    assert json.loads((finished.folder / "settings.json").read_text())["settings"][name] == value


def test_a_test_folder_is_judged_by_its_own_annotations(train, tmp_path):
    make_scenes(tmp_path / "test", relation_counts(30, long_tail=False), size=64, seed=77)
    finished, recorder = train("tested", epochs=1, test_dir=str(tmp_path / "test"))
    assert finished.test.total == 30
    assert recorder.metric("test_mean_recall") == [(finished.best_epoch, finished.test.mean_recall)]
    assert (finished.folder / "test" / "errors.html").is_file()


def test_shuffled_labels_give_chance(scenes, train, tmp_path):
    """Pictures, boxes and split stay, only the answers are exchanged: whatever is still above chance has leaked."""
    make_scenes(tmp_path, relation_counts(400, long_tail=False), size=64, seed=8)
    read = read_vrd(tmp_path / "annotations_train.json", load_vocabulary())
    order = np.random.default_rng(0).permutation(len(read.pairs))
    shuffled = [
        pair.__class__(**{**vars(pair), "relation": read.pairs[other].relation})
        for pair, other in zip(read.pairs, order, strict=True)
    ]
    write_vrd(tmp_path, "train", shuffled)
    finished, _ = train("shuffled", train_dir=str(tmp_path), epochs=6, val_split=0.4, monitor="val_loss")
    counted = Counter(pair.relation for pair in shuffled)
    assert set(counted.values()) == {40}
    low, high = finished.scores.interval
    assert low < 0.1 < high + 0.03, finished.scores.accuracy


def test_nothing_above_the_tasks_knows_what_the_second_task_is_about():
    """The engine asks the task. Only who offers names to users knows them: commands, `flowerml.prediction`, the
    registry's two tables.
    """
    root = Path(flowerml.__file__).parent
    naming = {
        str(path.relative_to(root))
        for folder in ("runs", "training", "tracking", "delivery", "journal", "campaign", "sweep")
        for path in (root / folder).rglob("*.py")
        if re.search("relation", path.read_text(), re.IGNORECASE)
    }
    assert naming == {"tracking/registry/register.py", "tracking/registry/pyfunc_model.py"}


def test_the_users_second_experiment_runs_through_with_the_right_counts_and_shapes(train, tmp_path):
    """ResNet-50 from a random start: 2 x 2048 features to 1024 to 128, boxes to 128, ten embeddings of 128."""
    make_scenes(tmp_path / "scenes", relation_counts(60, long_tail=False), size=64, seed=7)
    finished, recorder = train(
        "resnet50",
        model="relation_resnet50",
        train_dir=str(tmp_path / "scenes"),
        img_size=64,
        epochs=1,
        flip=0,
        val_split=0.4,
        runs_root=str(tmp_path),
    )
    checks = (finished.folder / "checks.txt").read_text()
    assert "trainable parameters: 4,353,216 (" in checks
    assert "visual 4,326,528" in checks
    assert "embeddings 1,280" in checks
    assert recorder.tags()["flowerml.parameters"] == "27861248"
    (kept,) = (tmp_path / "features").glob("*.npy")
    assert np.load(kept).shape[1] == 2048
    with np.load(finished.folder / "probe.npz") as probe:
        assert [probe[f"inputs_{place}"].shape[1:] for place in range(3)] == [(3, 64, 64), (3, 64, 64), (8,)]
        assert probe["logits"].shape[1] == 10
    assert finished.scores.total == len((finished.folder / "predictions.csv").read_text().splitlines()) - 1
