"""The page's models: by names that tell them apart, classifiers and relations each for themselves."""

from pathlib import Path

import pytest

from flowerml.app.models import load_models, shown_names
from flowerml.errors import UserError
from tests.app.conftest import CNN, RELATIONS, STRICT, VIT


def test_a_file_is_called_by_its_name_and_a_runs_weights_by_its_folder():
    paths = [Path("delivery/cnn_flowers.pth"), Path("runs/b01/best.pth")]
    assert shown_names(paths) == {"cnn_flowers.pth": paths[0], "b01": paths[1]}


def test_two_of_one_name_are_called_by_their_paths():
    paths = [Path("a/cnn.pth"), Path("b/cnn.pth"), Path("vit.pth"), Path("vit.pth")]
    assert shown_names(paths) == {"a/cnn.pth": paths[0], "b/cnn.pth": paths[1], "vit.pth": paths[2]}


def test_tasks_are_told_apart(models):
    assert list(models.classifiers) == [CNN, VIT, STRICT]
    assert list(models.relations) == [RELATIONS]


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.pth").write_text("not weights")
    with pytest.raises(UserError, match=r"x\.pth"):
        load_models({"x": tmp_path / "x.pth"}, "cpu")
