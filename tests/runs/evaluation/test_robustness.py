"""Accuracy of a run on corrupted photos: clean figures are those of `flowerml eval`, and every refusal is one line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from flowerml.data.decode import read_image
from flowerml.data.rng import seeded
from flowerml.data.transforms import EvaluationTransform
from flowerml.errors import UserError
from flowerml.evaluation.corruptions import VIEWS, CorruptedViews
from flowerml.events import MemoryRecorder
from flowerml.files import file_digest
from flowerml.prediction import load_network
from flowerml.runs.evaluate import Request as Evaluate
from flowerml.runs.evaluate import run_evaluation
from flowerml.runs.robustness import Request, limit_per_class, run_robustness
from flowerml.settings import Family, resolve
from flowerml.tasks.flowers import FlowersTask
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(train_small):
    """A run that has learnt something, with half of the photos held out."""
    plain = dict.fromkeys(("mixup", "cutmix", "randaugment", "random_erasing", "freeze_backbone_epochs"), 0)
    rates = {"lr_head": 5e-3, "lr_backbone": 5e-3, "batch_size": 8, "epochs": 20, "ema": False}
    return train_small(model="timm:test_resnet", val_split=0.5, **plain, **rates)[0].folder


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness") / "out"
    return run_robustness(Request(run, folder, workers=0)), folder


def delivered(run, target):
    """The run's weights without their split."""
    save_checkpoint(target, replace(load_checkpoint(run / "best.pth"), split=None))
    return target


def evaluation_of(path, **options):
    return run_evaluation(Evaluate(path, "val", workers=0, **options), lambda *_: MemoryRecorder())


def test_clean_row_is_what_eval_says(run, report):
    scores = evaluation_of(run / "best.pth").scores
    measured = report[0].measured
    assert (measured.clean_hits, measured.total) == (scores.hits, scores.total) == (scores.hits, 30)
    assert measured.clean_accuracy == scores.accuracy


def test_each_row_is_of_its_own_view_of_its_own_photo(run, report, flowers):
    """Photo by photo, with the evaluation's own normalisation: no batch, and no order to get wrong."""
    measured = report[0].measured
    checkpoint = load_checkpoint(run / "best.pth")
    network, transform = load_network(run / "best.pth"), EvaluationTransform(checkpoint.description)
    views, right = CorruptedViews(checkpoint.description), np.zeros(len(VIEWS), int)
    for name in checkpoint.split["val"]:
        with seeded(0, "augment", 1, name, 0):
            pictures = [to_pil_image(view) for view in views(read_image(flowers / name))]
        with torch.inference_mode():
            logits = network(torch.stack([transform.normalise(picture) for picture in pictures]))
        right += (logits.argmax(1) == checkpoint.classes.index(name.split("/")[0])).numpy()
    assert [row.hits for row in measured.rows] == right.tolist()
    assert len({*right.tolist()}) > 4, "the views are told apart"
    assert right.min() < measured.clean_hits


def test_files_say_what_was_measured(run, report):
    made, folder = report
    assert sorted(path.name for path in folder.iterdir()) == ["robustness.json", "robustness.md", "robustness.png"]
    written = json.loads((folder / "robustness.json").read_text())
    assert written == json.loads(json.dumps(made.as_json()))
    assert written["format"] == "flowerml-robustness-1"
    assert written["sha256"] == file_digest(run / "best.pth")
    assert [one["strength"] for one in written["corruptions"]] == [strength for _, strength in VIEWS]
    page = (folder / "robustness.md").read_text()
    assert page.count("\n| ") == 2 + len(VIEWS)
    assert made.remarks[0] in page
    with Image.open(folder / "robustness.png") as figure:
        assert figure.width > 1000


def test_the_same_for_any_number_of_workers_and_batches(run, report, tmp_path, monkeypatch):
    again = run_robustness(Request(run / "best.pth", tmp_path / "out", workers=2))
    assert again.measured == report[0].measured
    monkeypatch.setattr("flowerml.runs.robustness._BATCH_BYTES", 5 * len(VIEWS) * 3 * 32**2)
    small = run_robustness(Request(run, tmp_path / "small", workers=0))
    assert small.measured.clean_hits == report[0].measured.clean_hits
    for row, other in zip(small.measured.rows, report[0].measured.rows, strict=True):
        assert abs(row.hits - other.hits) <= 1  # batches of another size round differently


def test_a_delivered_file_on_a_test_folder(run, flowers, tmp_path):
    made = run_robustness(
        Request(delivered(run, tmp_path / "x.pth"), tmp_path / "out", test_dir=flowers, workers=0, limit=2)
    )
    assert (made.part, made.measured.total) == ("test", 10)


def test_a_vit_too(train_small, tmp_path):
    run = train_small(model="timm:test_vit", epochs=1, warmup_epochs=0)[0].folder
    made = run_robustness(Request(run, tmp_path / "out", workers=0))
    assert made.measured.clean_accuracy == evaluation_of(run / "best.pth").scores.accuracy
    assert len(made.measured.rows) == len(VIEWS)


def test_the_output_is_no_class_of_pictures(report, flowers, tmp_path):
    root = shutil.copytree(flowers, tmp_path / "photos")
    shutil.copytree(report[1], root / "rose" / "robustness")
    assert len(FlowersTask().layout(root, None).files) == 60


def test_limit_takes_the_same_photos_of_each_class(run, flowers):
    settings = resolve({"train_dir": str(flowers)})[0]
    examples, _ = FlowersTask().examples(flowers, load_checkpoint(run / "best.pth").classes, None, settings)
    taken = limit_per_class(examples, 3)
    assert [sum(one.label == label for one in taken) for label in range(5)] == [3] * 5
    assert {one.id for one in taken} == {one.id for one in limit_per_class(examples[::-1], 3)}
    assert {one.id for one in limit_per_class(examples, 2)} < {one.id for one in taken}
    assert limit_per_class(examples, None) == list(examples)


class TestRefused:
    """One line, and no folder."""

    def refused(self, match, tmp_path, weights, **options):
        with pytest.raises(UserError, match=match) as refused:
            run_robustness(Request(weights, tmp_path / "out", workers=0, **options))
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()

    def test_a_model_of_relations(self, run, tmp_path):
        checkpoint = load_checkpoint(run / "best.pth")
        save_checkpoint(tmp_path / "r.pth", replace(checkpoint, spec=replace(checkpoint.spec, family=Family.RELATION)))
        self.refused(r"of family relation\. Allowed: models that classify whole pictures", tmp_path, tmp_path / "r.pth")

    def test_a_delivered_file_without_a_test_folder(self, run, tmp_path):
        file = delivered(run, tmp_path / "x.pth")
        self.refused(r"carries no split .*--test-dir FOLDER", tmp_path, file)

    def test_photos_that_are_gone(self, run, tmp_path):
        self.refused("elsewhere", tmp_path, run, train_dir=tmp_path / "elsewhere")

    def test_a_run_that_held_nothing_out(self, train_small, tmp_path):
        run = train_small(val_split=0.0, epochs=1, warmup_epochs=0, monitor="val_loss")[0].folder
        self.refused("its split has no val pictures", tmp_path, run)

    def test_no_checkpoint_and_an_unknown_device(self, run, tmp_path):
        self.refused("no such file", tmp_path, tmp_path)
        self.refused("this machine has", tmp_path, run, device="cuda:99")

    def test_a_folder_that_is_not_empty(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").touch()
        with pytest.raises(UserError, match=r"is not empty \(it holds notes\)"):
            run_robustness(Request(run, tmp_path / "out", workers=0))
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes"]

    def test_a_failure_on_the_way_leaves_no_folder(self, run, tmp_path, monkeypatch):
        def fail(*_):
            raise UserError("the disk is gone")

        monkeypatch.setattr("flowerml.runs.robustness.measure_robustness", fail)
        self.refused("the disk is gone", tmp_path, run)
