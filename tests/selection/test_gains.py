"""Gains over the base of an ablation: paired, in the plan's order, and none that can't be computed."""

import numpy as np
import pytest

from flowerml.selection.gains import GAIN_COLUMNS, gain_cells
from flowerml.selection.intervals import Over, bootstrap_intervals
from flowerml.selection.records import Scope
from flowerml.selection.table import decision_markdown
from tests.selection.samples import SEEDS, decide, judged, run

BASE_ORDER = 4


@pytest.fixture
def ablation():
    """300 photos, three seeds: a base, a configuration with 24 photos more of 300, and one with the same ones."""
    draw = np.random.default_rng(5)
    runs, fetched, right = [], {}, {}
    for config, order, more in (("b-base", BASE_ORDER, 0), ("a-same", 10, 0), ("c-better", 7, 24)):
        rows = []
        for place, seed in enumerate(SEEDS):
            hits = np.arange(300) < 240 + more + place
            one, result = judged(config, seed, hits, plan_order=order + place)
            runs.append(one)
            fetched[one.run_id] = result
            rows.append(result.right)
        right[config] = np.stack(rows)
    draw.shuffle(runs)
    return runs, fetched, right


def test_each_gain_is_the_paired_bootstraps_difference_in_the_plans_order(ablation):
    runs, fetched, right = ablation
    decision = decide(runs, Scope(seeds=SEEDS, base_order=BASE_ORDER), fetched)
    assert [gain.configuration.config_id for gain in decision.gains] == ["c-better", "a-same"]
    better, same = decision.gains
    assert better.difference == pytest.approx(24 / 300)
    pair = {name: right[name] for name in ("c-better", "b-base")}
    assert better.interval == bootstrap_intervals(pair, ("c-better", "b-base")).difference
    assert (better.is_shown, same.is_shown, same.difference) == (True, False, 0.0)
    assert better.interval.low > 0


def test_the_decision_is_the_same_without_a_base(ablation):
    runs, fetched, _ = ablation
    with_base, without = (decide(runs, Scope(seeds=SEEDS, base_order=order), fetched) for order in (BASE_ORDER, None))
    assert without.gains == ()
    assert "gains" not in without.as_json()
    assert {name: value for name, value in with_base.as_json().items() if name != "gains"} == without.as_json()


def test_without_results_by_photo_seeds_alone_show_nothing():
    runs = [
        run(config, seed, hits=hits + place, plan_order=order + place)
        for config, order, hits in (("base", 1, 80), ("other", 4, 90))
        for place, seed in enumerate(SEEDS)
    ]
    runs[-1] = run("other", 47, hits=93, plan_order=6)
    [gain] = decide(runs, Scope(seeds=SEEDS, base_order=1)).gains
    assert gain.interval.over is Over.SEEDS
    assert gain.interval.low > 0
    assert not gain.is_shown
    assert gain_cells("other", gain)[3].endswith("(seeds alone)")


def test_without_the_base_there_are_no_gains(ablation):
    runs, fetched, _ = ablation
    others = [one for one in runs if one.config_id != "b-base"]
    assert decide(others, Scope(seeds=SEEDS, base_order=BASE_ORDER), fetched).gains == ()


def test_the_decisions_page_and_json_have_them(ablation):
    runs, fetched, _ = ablation
    decision = decide(runs, Scope(seeds=SEEDS, base_order=BASE_ORDER), fetched)
    page = decision_markdown(decision)
    assert f"| {' | '.join(GAIN_COLUMNS)} |" in page
    assert "Gains over net b-base. Validation accuracy minus" in page
    [line] = [line for line in page.splitlines() if "c-better" in line and "| +0.0800 |" in line]
    assert line.endswith("| yes |")
    first, second = decision.as_json()["gains"]
    assert (first["config_id"], first["shown"], second["gain"]) == ("c-better", True, 0.0)
