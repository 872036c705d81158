"""A whole run in this process: reproducible, complete, and in the right state whatever happens."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from flowerml import load_cnn_model, load_vit_model, predict
from flowerml.errors import UserError
from flowerml.events import Artifact, DatasetInput, Ended, MemoryRecorder, Metrics, Params, Status
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.train import run_training
from flowerml.settings import Settings, resolve
from flowerml.training.train_step import NotFinite
from tests.runs.conftest import SMALL

ON_DISK = {
    *("best.pth", "history.csv", "curves.png", "confusion_matrix.png", "confusion_matrix.json", "per_class.json"),
    *("predictions.csv", "split.json", "settings.json", "balance.json", "environment.txt", "errors.html", "probe.npz"),
}


def history(folder):
    """history.csv without its one timing column."""
    with (folder / "history.csv").open() as handle:
        return [
            {name: text for name, text in row.items() if name != "images_per_second"} for row in csv.DictReader(handle)
        ]


def weights(folder):
    return torch.load(folder / "best.pth", weights_only=True)["state_dict"]


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_same_seed_same_history_and_weights_whatever_the_workers(train_small, small_run):
    first, _ = small_run
    again, _ = train_small(dropout=0.2)
    with_workers, _ = train_small(dropout=0.2, workers=2)
    for other in (again, with_workers):
        assert history(other.folder) == history(first.folder)
        assert same_weights(weights(other.folder), weights(first.folder))
        assert (other.folder / "predictions.csv").read_bytes() == (first.folder / "predictions.csv").read_bytes()
    assert again.config_id == with_workers.config_id == first.config_id


def test_another_seed_is_another_run_of_the_same_configuration(train_small, small_run):
    first, _ = small_run
    other, _ = train_small(dropout=0.2, seed=0)
    assert other.config_id == first.config_id
    assert not same_weights(weights(other.folder), weights(first.folder))
    split = [json.loads((run.folder / "split.json").read_text())["digest"] for run in (first, other)]
    assert split[0] == split[1], "the split stays while the seed varies"


def test_accumulation_is_no_part_of_the_configuration(train_small, small_run):
    assert train_small(dropout=0.2, accumulate=2)[0].config_id == small_run[0].config_id


def test_every_promised_file_is_there_and_recorded(small_run):
    finished, recorder = small_run
    assert {path.name for path in finished.folder.iterdir()} == ON_DISK | {"run.json", "attempts", "images"}
    recorded = [event for event in recorder.events if isinstance(event, Artifact)]
    assert {event.path.name for event in recorded if event.folder != "images"} == ON_DISK
    assert isinstance(recorder.events[-1], Ended)
    assert recorder.events[-1].status is Status.FINISHED
    assert read_run_file(finished.folder).status == "FINISHED"


def test_metrics_per_epoch_and_best_at_the_end(small_run):
    finished, recorder = small_run
    for name in (
        "train_loss",
        "val_loss",
        "val_accuracy",
        "val_macro_f1",
        "lr_head",
        "lr_backbone",
        "grad_norm",
        "images_per_second",
    ):
        assert [step for step, _ in recorder.metric(name)] == [1, 2, 3]
    best = max(value for _, value in recorder.metric("val_accuracy"))
    assert recorder.metric("best_val_accuracy") == [(finished.best_epoch, best)]
    assert recorder.metric("best_epoch") == [(finished.best_epoch, finished.best_epoch)]
    assert dict(recorder.metric("val_macro_f1"))[finished.best_epoch] == recorder.metric("best_val_macro_f1")[0][1]


def test_tags_params_and_data_are_recorded(small_run):
    finished, recorder = small_run
    tags = recorder.tags()
    assert tags["flowerml.kind"] == "train"
    assert tags["flowerml.family"] == "cnn"
    assert tags["flowerml.config_id"] == finished.config_id
    assert tags["flowerml.seed"] == "11"
    assert tags["flowerml.model"] == "timm:test_convnext2"
    assert int(tags["flowerml.parameters"]) == sum(
        value.numel() for value in torch.load(finished.folder / "best.pth", weights_only=True)["state_dict"].values()
    )
    assert int(tags["flowerml.multiply_adds"]) > 1e6
    assert finished.scores is not None
    assert (int(tags["flowerml.val_hits"]), int(tags["flowerml.val_total"])) == (
        finished.scores.hits,
        finished.scores.total,
    )
    split = json.loads((finished.folder / "split.json").read_text())
    assert (tags["flowerml.data_digest"], tags["flowerml.split_digest"]) == (split["data_digest"], split["digest"])
    params = next(event.values for event in recorder.events if isinstance(event, Params))
    assert params.keys() == Settings.model_fields.keys(), "every setting is a param"
    assert "auto" not in params.values()
    reread, _ = resolve({name: text for name, text in params.items() if text != "none" or name == "weights"})
    assert reread.model_dump(mode="json") == json.loads((finished.folder / "settings.json").read_text())["settings"]
    assert any(isinstance(event, DatasetInput) and event.digest == split["data_digest"] for event in recorder.events)
    assert "Validation accuracy" in tags["mlflow.note.content"]


def test_load_and_predict_agree_with_the_logged_predictions(small_run, flowers):
    finished, _ = small_run
    model = load_cnn_model(finished.folder / "best.pth")
    with (finished.folder / "predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert rows
    assert [predict(model, flowers / row["image"]) for row in rows] == [row["predicted"] for row in rows]
    with pytest.raises(UserError, match="load_cnn_model"):
        load_vit_model(finished.folder / "best.pth")


def test_probe_holds_the_logits_of_best_pth(small_run):
    finished, _ = small_run
    probe = np.load(finished.folder / "probe.npz")
    model = load_cnn_model(finished.folder / "best.pth")
    with torch.inference_mode():
        logits = model(torch.from_numpy(probe["inputs"])).numpy()
    np.testing.assert_array_equal(logits, probe["logits"])


@pytest.mark.slow
def test_a_vit_goes_the_same_way(train_small, flowers):
    finished, recorder = train_small(model="clip_vits32", lr_backbone=1e-4, llrd=0.9)
    assert recorder.tags()["flowerml.family"] == "vit"
    model = load_vit_model(finished.folder / "best.pth")
    assert predict(model, next((flowers / "rose").iterdir())) in model.classes


def test_without_validation_the_last_epoch_is_kept_and_nothing_is_ranked(train_small):
    finished, recorder = train_small(val_split=0, stop_epoch=2)
    checkpoint = torch.load(finished.folder / "best.pth", weights_only=True)
    assert checkpoint["epoch"] == 2
    assert checkpoint["metrics"] == {}
    assert finished.scores is None
    assert recorder.tags()["flowerml.kind"] == "final"
    assert recorder.metric("best_val_accuracy") == []
    assert checkpoint["split"]["val"] == []


def test_a_test_folder_is_evaluated_once_with_the_best_weights(train_small, small_run, flowers, tmp_path, capsys):
    """Here it is a copy of the training folder, which is said."""
    finished, recorder = train_small(dropout=0.2, test_dir=str(shutil.copytree(flowers, tmp_path / "copy")))
    assert "60 of 60 pictures are in the training folder too" in capsys.readouterr().err
    assert finished.config_id == small_run[0].config_id, "an untouched test folder shapes nothing"
    assert same_weights(weights(finished.folder), weights(small_run[0].folder))
    assert finished.test.total == 60
    assert len(recorder.metric("test_accuracy")) == 1
    assert (finished.folder / "test" / "predictions.csv").is_file()


def test_skipped_bad_images_are_listed_as_an_artifact(train_small, flowers, tmp_path):
    copy = tmp_path / "photos"
    shutil.copytree(flowers, copy)
    (copy / "rose" / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(
        UserError, match=r"1 of 61 pictures can't be read[^\n]*--bad-images skip[^\n]*\n  'rose/page.jpg'"
    ):
        train_small(train_dir=str(copy))
    finished, recorder = train_small(train_dir=str(copy), bad_images="skip", epochs=1, warmup_epochs=0)
    assert "rose/page.jpg" in (finished.folder / "bad_images.txt").read_text()
    assert any(isinstance(event, Artifact) and event.path.name == "bad_images.txt" for event in recorder.events)


def test_a_loss_that_is_not_finite_ends_the_run_with_best_pth_untouched(flowers, tmp_path):
    settings, _ = resolve(
        {
            **SMALL,
            **{
                "train_dir": str(flowers),
                "output_dir": str(tmp_path / "out"),
                "optimizer": "sgd",
                "grad_clip": 0,
                "amp": False,
            },
            **{"lr_head": 10, "lr_backbone": 10, "epochs": 8, "scheduler": "constant", "warmup_epochs": 0},
        }
    )
    recorder = MemoryRecorder()
    with pytest.raises(NotFinite, match=r"at epoch \d+, step \d+, lr_head 10, lr_backbone 10, pictures .*/.*\.jpg"):
        run_training(settings, lambda *_: recorder)
    last = recorder.events[-1]
    assert isinstance(last, Ended)
    assert last.status is Status.FAILED
    assert "not finite" in last.reason or "is nan" in last.reason or "is inf" in last.reason
    assert read_run_file(tmp_path / "out").status == "FAILED"
    state = weights(tmp_path / "out")
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_rare_classes_are_repeated_weighed_and_said_before_training(train_small, capsys):
    finished, recorder = train_small(oversample="100:2", class_weights="balanced", epochs=1, warmup_epochs=0)
    told = capsys.readouterr().err
    assert told.index("  rose: 10 x2 = 20, weight 1.00") < told.index("epoch 1/1")
    logged = json.loads((finished.folder / "balance.json").read_text())
    assert [row["seen_per_epoch"] for row in logged["classes"]] == [20] * 5
    assert recorder.metric("effective_imbalance") == [(0, 1.0)]


def test_figures_that_cant_be_made_do_not_fail_a_run(flowers, tmp_path, capsys):
    """Its weights are good: each is named in a line, and the run is FINISHED."""
    names = ("curves.png", "confusion_matrix.png", "errors.html")

    class PutsFoldersInTheWay(MemoryRecorder):
        def record(self, event):
            super().record(event)
            for name in names if isinstance(event, Metrics) else ():
                (tmp_path / "out" / name / "in the way").mkdir(parents=True, exist_ok=True)

    recorder = PutsFoldersInTheWay()
    short = {"epochs": 1, "warmup_epochs": 0, "freeze_backbone_epochs": 0}
    settings, _ = resolve({**SMALL, "train_dir": str(flowers), "output_dir": str(tmp_path / "out"), **short})
    run_training(settings, lambda *_: recorder)
    assert recorder.events[-1] == Ended(Status.FINISHED)
    warned = [line for line in capsys.readouterr().err.splitlines() if "could not be made" in line]
    assert len(warned) == 3
    assert all(any(name in line for line in warned) for name in names)
