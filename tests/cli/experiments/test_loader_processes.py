"""A training that ends with an error has ended its loader processes: the end of the command does not wait for them."""

import gc
import multiprocessing
import os
import signal

import pytest

from flowerml.cli.main import run_command
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.training.trainer import Trainer

WORDS = (
    *("--model", "timm:test_convnext2", "--weights", "none", "--img-size", "32", "--device", "cpu", "--workers", "2"),
    *("--epochs", "3", "--warmup-epochs", "0", "--freeze-backbone-epochs", "0", "--cache-images", "off"),
)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A function: `flowerml train` with two loader processes; `happens` is called after the first epoch."""
    photos = tmp_path / "photos"
    make_flowers(photos, per_class=8, size=32)

    def train(happens):
        real = Trainer.evaluate

        def evaluate(trainer, *args, **kwargs):
            assert len(multiprocessing.active_children()) >= 2, "loaders have processes at that time"
            happens(photos)
            return real(trainer, *args, **kwargs)

        monkeypatch.setattr(Trainer, "evaluate", evaluate)
        return run_command("train", ["--train-dir", str(photos), "--output-dir", str(tmp_path / "run"), *WORDS])

    gc.collect()
    gc.disable()  # commands collect rarely
    yield train
    gc.enable()


def remove_photos(photos):
    for path in photos.glob("*/*.*"):
        path.unlink()


def test_after_an_error_of_a_loader_process(train, capfd):
    assert train(remove_photos) == 1
    assert "error: a picture can't be read any more: " in capfd.readouterr().err
    assert multiprocessing.active_children() == []


def test_after_a_request_to_stop(train, capfd):
    code = train(lambda _photos: os.kill(os.getpid(), signal.SIGTERM))
    assert code not in (0, 2), capfd.readouterr().err
    assert multiprocessing.active_children() == []
