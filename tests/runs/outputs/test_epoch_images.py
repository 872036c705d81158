"""Pictures by epoch for MLflow's image grid: training pictures as the model got them, and the surest mistakes."""

import re
import threading
import time

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from flowerml.data.transforms import InputDescription
from flowerml.events import Artifact, Tags
from flowerml.reporting.image_grid import SIDE, image_grid
from flowerml.runs.outputs import epoch_images
from flowerml.runs.outputs.epoch_images import EpochImages, _as_pictures
from flowerml.training.train_step import TrainStep

pytestmark = pytest.mark.slow

# As `MlflowClient.log_image` names its files; the frontend splits them at "+".
NAME = re.compile(r"(augmented|mistakes)\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}(\.png|\+compressed\.webp)")
GREY = InputDescription(4, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic", 1.0)


def steps_of(folder, key):
    found = [NAME.fullmatch(path.name) for path in (folder / "images").iterdir()]
    assert all(found)
    return sorted({int(match[2]) for match in found if match[1] == key})


@pytest.fixture(scope="module")
def five_epochs(train_small):
    return train_small(epochs=5)


def test_epochs_1_2_4_and_so_on_have_both_grids_and_the_sliders_first_step_is_not_empty(five_epochs):
    finished, recorder = five_epochs
    assert steps_of(finished.folder, "augmented") == steps_of(finished.folder, "mistakes") == [0, 1, 2, 4]
    sent = [event for event in recorder.events if isinstance(event, Artifact) and event.folder == "images"]
    assert {event.path for event in sent} == set((finished.folder / "images").iterdir())
    assert Tags({"mlflow.loggedImages": "True"}) in recorder.events


def test_mlflow_itself_names_them_so(tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("names", (tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    client.log_image(run_id, Image.new("RGB", (4, 4)), key="mistakes", step=3, synchronous=True)
    assert all(NAME.fullmatch(entry.path.removeprefix("images/")) for entry in client.list_artifacts(run_id, "images"))
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_the_small_one_is_the_large_one_reduced(five_epochs):
    for path in (five_epochs[0].folder / "images").glob("*.png"):
        with Image.open(path) as large, Image.open(path.with_name(f"{path.stem}+compressed.webp")) as small:
            assert max(small.size) == 256
            assert small.width / small.height == pytest.approx(large.width / large.height, rel=0.02)


def test_normalised_pictures_become_those_they_were():
    pixels = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (GREY.mean, GREY.std))
    pictures = _as_pictures((pixels / 255 - mean) / std, GREY)
    assert all(np.array_equal(np.asarray(picture), pixels[i].permute(1, 2, 0)) for i, picture in enumerate(pictures))


def test_the_first_batch_of_each_epoch_is_recorded_as_the_model_gets_it(train_small, monkeypatch):
    """Augmented and mixed: the very tensors of the step."""
    recorded, stepped, queue = {}, [], TrainStep.queue

    def queue_and_keep(self, inputs, *rest):
        stepped.append(inputs.clone())
        return queue(self, inputs, *rest)

    monkeypatch.setattr(TrainStep, "queue", queue_and_keep)
    monkeypatch.setattr(EpochImages, "record_batch", lambda _, epoch, inputs: recorded.update({epoch: inputs.clone()}))
    train_small(mixup=0.5, cutmix=0.0)
    steps = len(stepped) // 3
    assert sorted(recorded) == [1, 2, 3]
    assert all(torch.equal(recorded[epoch], stepped[(epoch - 1) * steps]) for epoch in recorded)


def test_a_grid_has_as_many_pictures_as_there_is_room_for(five_epochs):
    """Epoch 1's grid has as many pictures as there are, in its rows of three, none of them blank."""
    (path,) = (five_epochs[0].folder / "images").glob("augmented+step+1+*.png")
    with Image.open(path) as grid:
        assert grid.size == image_grid([(Image.new("RGB", (SIDE, SIDE)), "")] * 9).size
        assert np.asarray(grid.convert("L")).std() > 20


def test_no_more_bytes_than_allowed(train_small, monkeypatch):
    monkeypatch.setattr(epoch_images, "_MAX_BYTES", 60_000)
    folder = train_small(epochs=4)[0].folder / "images"
    assert 0 < sum(path.stat().st_size for path in folder.iterdir()) <= 60_000


def test_grids_are_drawn_beside_the_training_and_are_there_at_its_end(train_small, monkeypatch):
    """Not in its thread, which would wait for the import of Matplotlib."""
    threads = []

    def draw_slowly(pictures):
        threads.append(threading.current_thread().name)
        time.sleep(0.3)
        return image_grid(pictures)

    monkeypatch.setattr("flowerml.reporting.image_grid.image_grid", draw_slowly)
    finished, recorder = train_small(epochs=2, warmup_epochs=0, freeze_backbone_epochs=0)
    assert {name.partition("_")[0] for name in threads} == {"pictures"}
    assert steps_of(finished.folder, "mistakes") == [0, 1, 2]
    sent = [event for event in recorder.events if isinstance(event, Artifact) and event.folder == "images"]
    assert {event.path for event in sent} == set((finished.folder / "images").iterdir())


def test_a_grid_that_fails_ends_no_training(train_small, monkeypatch, capsys):
    monkeypatch.setattr("flowerml.reporting.image_grid.image_grid", lambda pictures: 1 / 0)
    finished, _ = train_small(epochs=1, warmup_epochs=0, freeze_backbone_epochs=0)
    assert finished.scores is not None
    assert "images: augmented could not be made (ZeroDivisionError" in capsys.readouterr().err


def test_a_run_that_replaces_another_keeps_none_of_its_pictures(train_small):
    first, _ = train_small(epochs=4)
    (first.folder / "images" / "my own.txt").write_text("stays")
    train_small(epochs=1, warmup_epochs=0, freeze_backbone_epochs=0, output_dir=str(first.folder), overwrite=True)
    (first.folder / "images" / "my own.txt").unlink()
    assert steps_of(first.folder, "mistakes") == [0, 1]


def test_a_probe_on_features_has_none(train_small):
    finished, _ = train_small(probe=True, freeze_backbone_epochs="auto", lr_backbone="auto")
    assert not (finished.folder / "images").exists()


def test_captions_have_a_line_each_and_large_pictures_fit():
    wide = Image.new("RGB", (1000, 300), "red")
    plain, two = image_grid([(wide, "")]), image_grid([(wide, "a\nb")])
    assert two.height > plain.height
    assert two.width == plain.width
    red = (np.asarray(plain) == (255, 0, 0)).all(axis=2)
    assert red.any(axis=0).sum() == SIDE
    with pytest.raises(ValueError, match="no pictures"):
        image_grid([])
