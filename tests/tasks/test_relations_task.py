"""The relations task: examples of both parts, test folders, rendered images, and notes on the settings."""

import shutil
from collections import defaultdict

import pytest
import torch

from flowerml.data.balance import compute_balance
from flowerml.data.relations.vrd import write_vrd
from flowerml.data.synthetic.scenes import make_scenes, relation_counts
from flowerml.errors import UserError
from flowerml.settings import find_model, resolve
from flowerml.tasks import task_for
from flowerml.tasks.relations import OBJECT_COLOUR, SUBJECT_COLOUR, RelationsTask

MODEL = "relation:timm:test_resnet"


def settings_for(root, **given):
    return resolve({"model": MODEL, "weights": "none", "train_dir": str(root), "img_size": 32, **given})[0]


@pytest.fixture(scope="module")
def prepared(scenes):
    return RelationsTask().prepare(settings_for(scenes))


@pytest.fixture
def own(scenes, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(scenes, tmp_path / "scenes")


def test_the_family_decides_the_task():
    assert isinstance(task_for(find_model(MODEL)), RelationsTask)
    assert isinstance(task_for(find_model("relation_resnet50")), RelationsTask)
    assert not isinstance(task_for(find_model("timm:test_resnet")), RelationsTask)


def test_pairs_of_one_image_are_in_one_part(prepared):
    sides = defaultdict(set)
    for name, examples in (("train", prepared.train), ("val", prepared.val)):
        for example in examples:
            sides[example.pair.image].add(name)
    assert {len(where) for where in sides.values()} == {1}
    assert {"train", "val"} == set().union(*sides.values())
    assert any("images on both sides: 0" in remark for remark in prepared.remarks)


def test_every_relation_is_in_both_parts_in_proportion(prepared):
    for label, name in enumerate(prepared.classes):
        counted = [sum(example.label == label for example in side) for side in (prepared.train, prepared.val)]
        assert sum(counted) == 10
        assert 1 <= counted[1] <= 3, name


def test_the_split_depends_on_its_seed_only(scenes, prepared):
    again = RelationsTask().prepare(settings_for(scenes, seed=47, epochs=3))
    assert again.split == prepared.split
    other = RelationsTask().prepare(settings_for(scenes, split_seed=12))
    assert other.split.digest != prepared.split.digest
    assert other.split.data_digest == prepared.split.data_digest
    assert len(RelationsTask().prepare(settings_for(scenes, val_split=0)).train) == 100


def test_model_inputs_are_two_crops_and_box_features(scenes, prepared):
    task, settings = RelationsTask(), settings_for(scenes, box_features="published")
    built = task.build(find_model(MODEL), settings, prepared.classes)
    train_transform, eval_transform = task.transforms(built.description, settings)
    for transform in (train_transform, eval_transform):
        subject, other, numbers = transform(prepared.train[0].read()).inputs
        assert subject.shape == other.shape == (3, 32, 32)
        assert numbers.shape == (12,)
    assert built.model.box_dim == 12
    labels = {transform(prepared.train[0].read()).label for transform in (eval_transform, eval_transform)}
    assert labels == {prepared.train[0].label}


def test_examples_report_changes_since_the_split(own):
    task, settings = RelationsTask(), settings_for(own)
    data = task.prepare(settings)
    examples, remarks = task.examples(own, data.classes, data.split, settings)
    assert remarks == []
    assert {example.id for example in examples} == {*data.split.train, *data.split.val}
    changed, gone = sorted(own.glob("*.jpg"))[:2]
    changed.write_bytes(changed.read_bytes() + b" ")
    gone_pairs = [example for example in examples if example.pair.image == gone.name]
    write_vrd(own, "train", [example.pair for example in examples if example.pair.image != gone.name])
    text = "\n".join(task.examples(own, data.classes, data.split, settings)[1])
    assert f"{len(gone_pairs)} pairs are not there any more" in text
    assert "pairs are changed, for example" in text


def test_a_test_folder_with_training_images_is_reported(own, tmp_path):
    task, settings = RelationsTask(), settings_for(own)
    data = task.prepare(settings)
    _, remarks = task.test_examples(own, data.classes, data.split, settings, "stop")
    assert "pictures are in the training folder too" in remarks[0]
    make_scenes(tmp_path / "test", relation_counts(20, long_tail=False), size=64, seed=99)
    examples, remarks = task.test_examples(tmp_path / "test", data.classes, data.split, settings, "stop")
    assert (len(examples), remarks) == (20, [])


def test_render_draws_both_boxes(prepared, own):
    example = prepared.val[0]
    shown = RelationsTask().render(example)
    subject, other = example.pair.subject, example.pair.object
    assert shown.getpixel((int(subject.x0), int(subject.y0))) == SUBJECT_COLOUR
    assert shown.getpixel((int(other.x1) - 1, int(other.y1) - 1)) == OBJECT_COLOUR
    gone = RelationsTask().prepare(settings_for(own)).val[0]
    (own / gone.pair.image).unlink()
    assert RelationsTask().render(gone) is None


def test_describe_settings_counts_trained_parameters(scenes, prepared):
    task = RelationsTask()
    settings = settings_for(scenes, class_weights="balanced", scheduler="plateau", patience=5)
    built = task.build(find_model(MODEL), settings, prepared.classes)
    labels = [example.label for example in prepared.train]
    lines = task.describe_settings(built, settings, compute_balance(prepared.classes, labels, "balanced"))
    counted = next(line for line in lines if line.startswith("trainable parameters"))
    assert f"{built.head_parameters:,} (visual" in counted
    assert "backbone" not in counted
    assert any("1 epoch(s) run at the lower rate" in line for line in lines)
    assert any("1,034 times" in line and "page" in line for line in lines)
    thawed = settings_for(scenes, freeze_backbone_epochs=1)
    assert any(
        f"backbone {built.parameters - built.head_parameters:,}" in line
        for line in task.describe_settings(built, thawed, compute_balance(prepared.classes, labels))
    )


def test_a_folder_without_annotations_is_one_error_line(tmp_path):
    with pytest.raises(UserError, match="no annotations: name one with --annotations PATH"):
        RelationsTask().prepare(settings_for(tmp_path))
    with pytest.raises(UserError, match="no such folder of pictures"):
        RelationsTask().prepare(settings_for(tmp_path / "nowhere"))


def test_the_mirrored_label_of_a_subset_without_the_other_side(scenes):
    data = RelationsTask().prepare(settings_for(scenes, classes="left of,on"))
    assert data.classes == ("on", "left of")
    mirrored = {example.label: example.flipped_label for example in data.train}
    assert mirrored == {0: 0, 1: None}
    assert torch.tensor([example.label for example in data.train]).unique().tolist() == [0, 1]
