"""Features of images on disk: what was stored is found, what is damaged is not used, a full disk costs nothing."""

import hashlib

import numpy as np
import pytest
import torch

from flowerml.data.features.loader import feature_evaluation_loader, feature_training_loader
from flowerml.data.features.store import FeatureStore
from flowerml.data.loader import Example, training_loader

DIGESTS = [hashlib.sha256(bytes([index])).hexdigest() for index in range(5)]
FEATURES = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def test_features_come_back_from_several_files(store):
    assert store.get(DIGESTS) == {}
    store.put(DIGESTS[:3], FEATURES[:3])
    store.put(DIGESTS[2:], FEATURES[2:])  # another process computed one of them too
    found = store.get(DIGESTS)
    assert all(np.array_equal(found[digest], row) for digest, row in zip(DIGESTS, FEATURES, strict=True))
    assert store.get(DIGESTS[3:4]).keys() == {DIGESTS[3]}


def flip_a_bit(data):
    at = data.index(FEATURES[:3].tobytes()) + 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [lambda data: data[:-30], flip_a_bit, lambda _: b""], ids=["cut", "bit", "empty"])
def test_a_damaged_file_is_named_removed_and_not_used(store, capsys, damage):
    store.put(DIGESTS[:3], FEATURES[:3])
    (file,) = store.folder.iterdir()
    store.put(DIGESTS[3:], FEATURES[3:])
    data = file.read_bytes()
    file.write_bytes(damage(data))
    assert store.get(DIGESTS).keys() == {*DIGESTS[3:]}
    assert f"warning: features in {file} can't be used" in capsys.readouterr().err
    assert not file.exists()


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path, capsys):
    (tmp_path / "features").write_text("a file")
    assert not FeatureStore(tmp_path / "features").put(DIGESTS, FEATURES)
    assert "warning: features are not kept for later runs: can't write" in capsys.readouterr().err


def test_batches_of_features_come_in_the_order_of_batches_of_images():
    examples = [Example(f"{index}", index % 2, lambda: None) for index in range(10)]
    features = torch.arange(10.0)[:, None]
    repeats = [1 + (index == 3) for index in range(10)]
    options = {"batch_size": 4, "seed": 5, "repeats": repeats}
    images = training_loader(examples, lambda _: torch.zeros(1), workers=0, **options)
    for epoch in (1, 2):
        batches = list(feature_training_loader(features, examples, **options).epoch(epoch, skip=1))
        assert [ids for _, _, ids in batches] == [ids for _, _, ids in images.epoch(epoch, skip=1)]
        assert all([f"{int(row)}" for row in rows] == ids for rows, _, ids in batches)
    batches = list(feature_evaluation_loader(features, examples, batch_size=4).epoch(1))
    assert [name for _, _, ids in batches for name in ids] == [example.id for example in examples]
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == [example.label for example in examples]
