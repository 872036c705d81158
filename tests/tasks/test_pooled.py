"""Features of a frozen backbone: the same as the crops give, computed once, found again by everything they hang on."""

import pytest
import torch

from flowerml.settings import find_model, resolve
from flowerml.tasks.feature_cache import CachedPairSource, pair_features
from flowerml.tasks.relations import FEATURES, RelationsTask

MODEL = "relation:timm:test_resnet"
CPU = torch.device("cpu")


def views_of(scenes, root, *, start=0, **given):
    settings, _ = resolve(
        {
            "model": MODEL,
            "weights": "none",
            "train_dir": str(scenes),
            "img_size": 32,
            "epochs": 2,
            "runs_root": str(root),
            **given,
        }
    )
    task = RelationsTask()
    data = task.prepare(settings)
    torch.manual_seed(start)
    built = task.build(find_model(MODEL), settings, data.classes)
    return task.views(built, settings, data, CPU, 0), data, built, settings


@pytest.fixture(scope="module")
def kept(scenes, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return views_of(scenes, root), root


def files(root):
    return sorted((root / FEATURES).glob("*.npy"))


def test_the_model_answers_alike_on_features_and_on_crops(kept):
    (views, data, built, settings), _ = kept
    model = built.model.eval()
    _, look = RelationsTask().transforms(built.description, settings)
    for from_features, from_crops in zip([*views.train, *views.val], [*data.train, *data.val], strict=True):
        assert (from_features.id, from_features.label) == (from_crops.id, from_crops.label)
        sights = from_features.read(), from_crops.read()
        assert isinstance(sights[0], CachedPairSource)
        with torch.inference_mode():
            logits = [model(tuple(part[None] for part in look(sight).inputs)) for sight in sights]
        assert torch.allclose(*logits, atol=1e-4)


def test_mirrored_pairs_too(kept):
    (views, data, built, _), _ = kept
    for from_features, from_crops in zip(views.train[:10], data.train[:10], strict=True):
        features = from_features.read().sides(built.description, flipped=True)
        crops = torch.stack(from_crops.read().sides(built.description, flipped=True))
        with torch.inference_mode():
            assert torch.allclose(torch.stack(features), built.model.eval().pooled(crops), atol=1e-4)
    assert all(example.read().mirrored_rows is None for example in views.val)


def test_subject_and_object_in_each_others_place(kept):
    (views, _, built, _), _ = kept
    sight = views.val[0].read()
    plain, turned = (one.sides(built.description, flipped=False) for one in (sight, sight.swapped()))
    assert torch.equal(plain[0], turned[1])
    assert torch.equal(plain[1], turned[0])


def test_features_are_computed_once_and_found_again(kept, scenes, capsys):
    _, root = kept
    (path,) = files(root)
    before = path.stat().st_mtime_ns
    views_of(scenes, root, seed=23)
    assert "are there from an earlier run" in capsys.readouterr().err
    assert [one.stat().st_mtime_ns for one in files(root)] == [before]


@pytest.mark.parametrize(
    "change",
    [{"start": 1}, {"mean": "0.1,0.2,0.3"}, {"img_size": 48}, {"flip": 0}],
    ids=["weights", "colours", "size", "mirror"],
)
def test_other_weights_or_another_look_are_other_features(scenes, kept, change):
    _, root = kept
    before = files(root)
    views_of(scenes, root, **change)
    assert len(files(root)) == len(before) + 1


@pytest.mark.parametrize("change", [{"cache_features": False}, {"freeze_backbone_epochs": 1}])
def test_pictures_are_looked_at_anew_where_asked_or_where_the_backbone_learns(scenes, tmp_path, change):
    views, data, _, _ = views_of(scenes, tmp_path, **change)
    assert views.train is data.train
    assert not (tmp_path / FEATURES).exists()


def test_a_run_that_stops_before_the_backbone_thaws_counts_as_frozen(scenes, tmp_path):
    views_of(scenes, tmp_path, epochs=4, freeze_backbone_epochs=2, stop_epoch=2)
    assert len(files(tmp_path)) == 1


def test_the_visual_baseline_sees_the_same_with_and_without_kept_features(kept, scenes):
    (views, data, built, settings), _ = kept
    options = {"root": scenes, "built": built, "spec": find_model(settings.model), "device": CPU, "workers": 0}
    from_kept, computed = (pair_features(list(examples), **options) for examples in (views.val, data.val))
    assert from_kept.shape == (len(data.val), 2 * 96)
    assert torch.allclose(torch.from_numpy(from_kept), torch.from_numpy(computed), atol=1e-4)
