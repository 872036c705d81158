"""`predict_files`: the same answers however many threads decode, and no more pictures in memory than a few batches."""

import threading
import time

import pytest
import torch

from flowerml.prediction import load_predictor
from flowerml.prediction.files import predict_files
from flowerml.prediction.standalone.flowers_classifier import BATCH
from tests.prediction.delivered import odd_pictures


@pytest.fixture(scope="module")
def model(files):
    return load_predictor(str(files["cnn"]), "cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three batches of good and unusable pictures, mixed."""
    folder = tmp_path_factory.mktemp("odd")
    contents = list(odd_pictures().values())
    for number, content in enumerate(contents * 2):
        (folder / f"{number:03}").write_bytes(content)
    found = sorted(folder.iterdir())
    assert len(found) > 2 * BATCH
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_threads_gives_the_same_predictions_in_the_same_order(model, paths, workers):
    expected = list(predict_files(model, paths))
    assert [prediction.path for prediction in expected] == paths
    assert {prediction.probabilities is None for prediction in expected} == {True, False}
    assert list(predict_files(model, paths, workers)) == expected


def test_no_pictures_no_predictions(model):
    assert list(predict_files(model, [], 2)) == []


class Counting(torch.nn.Module):
    """A model that counts what it decodes."""

    def __init__(self):
        super().__init__()
        self.decoded = 0

    def preprocess(self, path):
        self.decoded += 1
        return torch.zeros(1)

    def probabilities(self, inputs):
        return torch.ones(len(inputs), 1).numpy()


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_few_batches_are_decoded_ahead_and_a_reader_that_stops_leaves_no_threads():
    model = Counting()
    predictions = predict_files(model, range(100 * BATCH), 1)
    for _ in range(BATCH):
        next(predictions)
    while decoding_threads() and model.decoded < 4 * BATCH - 1:
        time.sleep(0.001)
    time.sleep(0.05)
    assert model.decoded == 4 * BATCH - 1  # three batches wait while the last of the first one is taken
    predictions.close()
    assert decoding_threads() == []


def test_an_error_that_is_no_picture_s_fault_is_raised():
    class Broken(Counting):
        def preprocess(self, path):
            raise MemoryError

    with pytest.raises(MemoryError):
        next(predict_files(Broken(), range(3), 2))
