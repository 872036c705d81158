"""A choice that was confirmed by folds has no common validation pictures to be compared on."""

import pytest

from flowerml.campaign.comparison import data
from flowerml.errors import UserError
from flowerml.tracking.search.campaigns import ServerRun


def test_a_campaign_that_chose_by_folds_is_refused(monkeypatch):
    campaign = ServerRun("c", "FINISHED", {"campaign": "tiny-1", "plan": "tiny"}, {}, 0, 1.0)
    decision = ServerRun("d", "FINISHED", {"family": "cnn", "winner": "a"}, {}, 0, 1.0)
    folds = [
        ServerRun(f"r{fold}", "FINISHED", {"config_id": "a", "seed": "11", "fold": str(fold)}, {}, 0, 1.0)
        for fold in (1, 2)
    ]
    monkeypatch.setattr(data, "_newest_matching_pair", lambda *_: (campaign, campaign))
    monkeypatch.setattr(data, "_family_decisions", lambda _: {"cnn": decision})
    monkeypatch.setattr(data, "runs_of_campaign", lambda *_: folds)
    with pytest.raises(UserError, match="has confirmed its choice by folds, each on other pictures") as caught:
        data.load_comparison("tiny", "other")
    assert "\n" not in str(caught.value)
