"""Linear probes of one process: the backbone is built once, and no head is another for it."""

import os

import pytest
import torch

from flowerml.models import build, frozen_backbones
from flowerml.settings import find_model

SPEC = find_model("timm:test_convnext2")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(frozen_backbones, "_last", None)


def built(seed=11, **changes):
    torch.manual_seed(seed)
    return build(SPEC, 3, img_size=32, **{"frozen": True, **changes})


def equal(first, second):
    other = second.model.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.model.state_dict().items())


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(built(seed=5).model.backbone.state_dict(), path)
    frozen_backbones._last = None
    return path


def test_the_second_has_the_backbone_of_the_first_and_the_head_of_a_fresh_process(weights):
    first, second = (built(weights=str(weights), dropout=dropout) for dropout in (0.0, 0.2))
    fresh = built(weights=str(weights), dropout=0.2, frozen=False)
    assert second.model.backbone is first.model.backbone
    assert fresh.model.backbone is not first.model.backbone
    assert second.model.head is not first.model.head
    assert equal(second, fresh)
    assert second.model.dropout.p == fresh.model.dropout.p


@pytest.mark.parametrize("changes", [{"seed": 23}, {"weights": "none"}, {"drop_path": 0.1}, {"img_size": 64}])
def test_another_backbone_or_seed_is_built_anew(weights, changes):
    first = built(weights=str(weights))
    torch.manual_seed(changes.get("seed", 11))
    own = {"img_size": 32, "weights": str(weights), **{k: v for k, v in changes.items() if k != "seed"}}
    second = build(SPEC, 3, frozen=True, **own)
    torch.manual_seed(changes.get("seed", 11))
    fresh = build(SPEC, 3, **own)
    assert second.model.backbone is not first.model.backbone
    assert equal(second, fresh)


def test_a_file_that_was_replaced_is_read_anew(weights):
    first = built(weights=str(weights))
    torch.save(built(seed=6, weights="none", frozen=False).model.backbone.state_dict(), weights)
    os.utime(weights, ns=(1, 1))
    second = built(weights=str(weights))
    assert second.model.backbone is not first.model.backbone
    assert not equal(second, first)


def test_what_is_computed_of_it_is_computed_once():
    calls = []
    first, second = built(), built()
    for one in (first, second, built(frozen=False)):
        assert frozen_backbones.remember(one.model.backbone, "digest", lambda: calls.append(1) or len(calls)) in (1, 2)
    assert len(calls) == 2, "once for the frozen backbone, once for one that may be trained"
