"""A greedy soup: its rule, its files, determinism, and runs that can't be averaged."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from flowerml.delivery.export import Source, export
from flowerml.delivery.verify import Expected
from flowerml.errors import UserError
from flowerml.events import MemoryRecorder
from flowerml.files import file_digest
from flowerml.models.weights.average import average_states, permute_head
from flowerml.prediction import load_cnn_model, load_network, predict
from flowerml.runs.evaluate import Request as Evaluate
from flowerml.runs.evaluate import run_evaluation
from flowerml.runs.lifecycle.run_file import read_run_file, write_run_file
from flowerml.runs.soup.evaluator import Request
from flowerml.runs.soup.greedy import combine_runs, format_soup
from flowerml.settings import Family, resolve
from flowerml.tasks.flowers import FlowersTask
from flowerml.tasks.image_features import ImageFeatures
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

HALF = {"val_split": 0.5, "cutmix": 0.0, "mixup": 0.0}


@pytest.fixture(scope="module")
def runs(train_small):
    """Three runs from one start, on half of the pictures."""
    return tuple(train_small(**HALF, epochs=epochs, dropout=0.1)[0].folder for epochs in (4, 3, 2))


@pytest.fixture(scope="module")
def soup(runs, tmp_path_factory):
    return combine_runs(Request(runs, tmp_path_factory.mktemp("soup") / "out", workers=0))


def combine(tmp_path, *paths, **options):
    return combine_runs(Request(paths, tmp_path / "out", workers=0, **options))


def changed(folder, target, **parts):
    """A copy of a run with other parts in its checkpoint."""
    shutil.copytree(folder, target)
    checkpoint = load_checkpoint(folder / "best.pth")
    save_checkpoint(target / "best.pth", replace(checkpoint, **parts))
    return target


def weights_of(path):
    return load_checkpoint(path).state_dict


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_soup_is_never_worse_than_the_best_on_the_choosing_half(soup):
    accuracies = [one.accuracy for one in soup.tried]
    assert accuracies == sorted(accuracies, reverse=True)
    assert soup.choosing >= accuracies[0]
    assert soup.tried[0].taken
    assert soup.n_choosing + soup.judged.pictures == soup.scores.total == 30


def test_soup_is_the_mean_of_what_was_taken(soup):
    states = [one.ingredient.checkpoint.state_dict for one in soup.tried if one.taken]
    assert equal(weights_of(soup.folder / "best.pth"), average_states(states))


def test_a_delivered_soup_evaluates_to_its_own_figures_and_predicts(soup, flowers):
    checkpoint = load_checkpoint(soup.folder / "best.pth")
    evaluation = run_evaluation(Evaluate(soup.folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
    assert evaluation.scores.accuracy == soup.scores.accuracy == checkpoint.metrics["val_accuracy"]
    assert evaluation.scores.loss == soup.scores.loss
    listed = soup.folder / "predictions.csv"
    assert listed.read_bytes() == (soup.folder / "eval_val" / "predictions.csv").read_bytes()
    picture = flowers / checkpoint.split["val"][0]
    with listed.open(newline="") as handle:
        row = next(row for row in csv.DictReader(handle) if row["image"] == checkpoint.split["val"][0])
    assert predict(load_cnn_model(soup.folder / "best.pth"), picture) == row["predicted"]


def test_files_say_what_was_done(soup):
    written = json.loads((soup.folder / "combine.json").read_text())
    assert written == json.loads(json.dumps(soup.as_json()))
    for row, one in zip(written["ingredients"], soup.tried, strict=True):
        assert row["sha256"] == file_digest(one.ingredient.path)
    judging = written["judging"]
    assert judging["gain"] == judging["soup_accuracy"] - judging["best_single_accuracy"]
    assert judging["interval_95"]["low"] <= judging["gain"] <= judging["interval_95"]["high"]
    probe = np.load(soup.folder / "probe.npz")
    with torch.inference_mode():
        logits = load_network(soup.folder / "best.pth")(torch.from_numpy(probe["inputs"]))
    assert (logits.numpy() == probe["logits"]).all()
    text = format_soup(soup)
    assert text.count("\n") == len(soup.tried) + 2
    assert text.endswith(": not shown)") != soup.judged.shown


def test_same_seed_same_weights_whatever_the_order(soup, runs, tmp_path):
    again = combine(tmp_path, *runs[::-1])
    assert equal(weights_of(again.folder / "best.pth"), weights_of(soup.folder / "best.pth"))
    assert again.as_json()["judging"] == soup.as_json()["judging"]


def test_soup_of_one_is_that_run_bit_for_bit(runs, tmp_path):
    alone = combine(tmp_path, runs[0] / "best.pth")
    assert equal(weights_of(alone.folder / "best.pth"), weights_of(runs[0] / "best.pth"))
    assert (alone.judged.gain, alone.judged.shown) == (0.0, False)


def test_classes_in_another_order_are_aligned(soup, runs, tmp_path):
    checkpoint = load_checkpoint(runs[1] / "best.pth")
    order = [2, 0, 1, 4, 3]
    turned = changed(
        runs[1],
        tmp_path / "turned",
        classes=tuple(checkpoint.classes[place] for place in order),
        state_dict=permute_head(checkpoint.state_dict, order),
        prior=None,
    )
    again = combine(tmp_path, runs[0], turned, runs[2])
    assert equal(weights_of(again.folder / "best.pth"), weights_of(soup.folder / "best.pth"))


def test_batch_norm_statistics_are_of_the_average(train_small, tmp_path, monkeypatch):
    changes = {**HALF, "model": "timm:test_resnet", "freeze_backbone_epochs": 0, "epochs": 2}
    folders = [train_small(**changes, label_smoothing=smoothing)[0].folder for smoothing in (0.0, 0.1)]
    monkeypatch.setattr("flowerml.runs.soup.evaluator.Candidate.rank", (0, 0.0))  # so that the second joins in any case
    mixed = combine(tmp_path, *folders)
    assert [one.taken for one in mixed.tried] == [True, True]
    plain = average_states([one.ingredient.checkpoint.state_dict for one in mixed.tried])
    state = weights_of(mixed.folder / "best.pth")
    differ = {name.rpartition(".")[2] for name in state if not torch.equal(state[name], plain[name])}
    assert differ == {"running_mean", "running_var"}
    first = mixed.tried[0].ingredient.checkpoint.state_dict
    counts = [name for name in state if name.endswith("num_batches_tracked")]
    assert counts
    assert all(torch.equal(state[name], first[name]) for name in counts)


def test_vit_runs_combine_too(train_small, tmp_path):
    changes = {**HALF, "model": "timm:test_vit", "epochs": 2}
    folders = [train_small(**changes, label_smoothing=smoothing)[0].folder for smoothing in (0.0, 0.1)]
    mixed = combine(tmp_path, *folders)
    assert mixed.choosing >= mixed.tried[0].accuracy
    states = [one.ingredient.checkpoint.state_dict for one in mixed.tried if one.taken]
    assert equal(weights_of(mixed.folder / "best.pth"), average_states(states))


def test_near_duplicates_are_on_one_side(flowers, tmp_path):
    root = shutil.copytree(flowers, tmp_path / "photos")
    original = next(iter(sorted((root / "rose").glob("*.*"))))
    shutil.copy(original, root / "rose" / f"zz{original.suffix}")
    task = FlowersTask()
    split = task.prepare(resolve({"train_dir": str(root)})[0]).split
    examples, _ = task.examples(root, split.classes, split, resolve({"train_dir": str(root)})[0])
    groups = dict(
        zip(
            (example.id for example in examples),
            task.near_duplicates(root, split.classes, split, examples),
            strict=True,
        )
    )
    assert groups[f"rose/zz{original.suffix}"] == groups[f"rose/{original.name}"]
    assert len(set(groups.values())) > len(groups) // 2


class TestRefused:
    """One line that says why."""

    def test_random_starts_of_two_seeds(self, runs, train_small, tmp_path):
        other = train_small(**HALF, epochs=1, warmup_epochs=0, seed=12)[0].folder
        with pytest.raises(UserError, match=r"random \(--weights none\) from different seeds \(12, not 11\)"):
            combine(tmp_path, runs[0], other)

    def test_other_starting_weights(self, runs, tmp_path):
        other = changed(runs[1], tmp_path / "other", epoch=9)
        recorded = json.loads((other / "settings.json").read_text())
        recorded["identity"]["weights"] = "hub:x"
        (other / "settings.json").write_text(json.dumps(recorded))
        with pytest.raises(UserError, match="started from other weights"):
            combine(tmp_path, runs[0], other)

    @pytest.mark.parametrize("part", ["spec", "classes", "split", "description"])
    def test_other_model_classes_split_or_input(self, part, runs, tmp_path):
        checkpoint = load_checkpoint(runs[1] / "best.pth")
        value, said = {
            "spec": (replace(checkpoint.spec, name="timm:other"), "is of model timm:other"),
            "classes": (("moss", *checkpoint.classes[1:]), "only one of the two has daisy, moss"),
            "split": ({**checkpoint.split, "digest": "0" * 64}, "trained on another split"),
            "description": (replace(checkpoint.description, crop_pct=0.5), r"differs \(crop_pct\)"),
        }[part]
        other = changed(runs[1], tmp_path / "other", **{part: value})
        with pytest.raises(UserError, match=said) as refused:
            combine(tmp_path, runs[0], other)
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out" / "best.pth").exists()

    def test_a_delivered_file_a_run_twice_and_an_unfinished_one(self, runs, tmp_path):
        delivered = changed(runs[1], tmp_path / "delivered", split=None)
        with pytest.raises(UserError, match="carries no split"):
            combine(tmp_path, runs[0], delivered)
        renamed = changed(
            runs[0],
            tmp_path / "again",
            settings={**load_checkpoint(runs[0] / "best.pth").settings, "run_name": "again"},
        )
        for same in (runs[0], renamed):  # a repeated training differs in its file, not in its weights
            with pytest.raises(UserError, match="has the very weights of"):
                combine(tmp_path, runs[0], same)
        unfinished = changed(runs[1], tmp_path / "unfinished")
        write_run_file(unfinished, replace(read_run_file(unfinished), status="RUNNING"))
        with pytest.raises(UserError, match="a run that is RUNNING"):
            combine(tmp_path, runs[0], unfinished)

    def test_a_model_of_relations(self, runs, tmp_path):
        spec = replace(load_checkpoint(runs[1] / "best.pth").spec, family=Family.RELATION)
        with pytest.raises(UserError, match=r"of family relation\. Allowed: runs of models that classify whole"):
            combine(tmp_path, changed(runs[1], tmp_path / "relation", spec=spec), runs[0])

    def test_a_folder_without_the_pictures(self, runs, tmp_path):
        with pytest.raises(UserError, match="elsewhere"):
            combine(tmp_path, *runs, train_dir=tmp_path / "elsewhere")

    def test_runs_that_held_nothing_out(self, train_small, tmp_path):
        run = train_small(val_split=0.0, epochs=1, warmup_epochs=0, monitor="val_loss")[0].folder
        with pytest.raises(UserError, match="its split has no validation pictures"):
            combine(tmp_path, run)

    def test_a_folder_that_is_not_empty(self, runs, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").touch()
        with pytest.raises(UserError, match=r"is not empty \(it holds notes\)"):
            combine(tmp_path, *runs)


def test_a_calibrated_soup_with_views_is_delivered_and_answers_by_the_single_file(train_small, flowers, tmp_path):
    """Loaded in a fresh process without a network, with the temperature and the views that are in it."""
    folders = [train_small(val_split=0.85, mixup=0.0, cutmix=0.0, epochs=epochs)[0].folder for epochs in (3, 2)]
    mixed = combine(tmp_path, *folders).folder
    expected = Expected(mixed / "probe.npz", mixed / "predictions.csv", flowers)
    delivery = export([Source(mixed / "best.pth", expected, {})], tmp_path / "delivery", tta="flip")
    assert delivery.problems == []
    (check,) = delivery.checks
    assert check.view_difference is not None
    assert (check.photos, check.differing) == (50, ())
    delivered = load_checkpoint(tmp_path / "delivery" / "cnn_flowers.pth")
    assert (delivered.tta, delivered.calibration is None) == ("flip", False)


def test_a_soup_of_linear_probes_is_judged_by_the_features_kept_from_their_training(train_small, tmp_path, monkeypatch):
    """Its figures are those of whole passes through the written file, and no picture is passed through the backbone
    again.
    """
    probe = {"probe": True, "freeze_backbone_epochs": "auto", "lr_backbone": "auto", "val_split": 0.5}
    runs = [train_small(**probe, lr_head=rate)[0].folder for rate in (3e-3, 1e-2)]
    with monkeypatch.context() as patched:
        patched.setattr(ImageFeatures, "_compute", lambda *_: pytest.fail("features are computed again"))
        made = combine(tmp_path, *runs)
    evaluation = run_evaluation(Evaluate(made.folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
    assert evaluation.scores.confusion.tolist() == made.scores.confusion.tolist()
    assert evaluation.scores.loss == pytest.approx(made.scores.loss, rel=1e-5)
