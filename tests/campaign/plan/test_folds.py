"""A phase that confirms by folds: its runs, what follows it, and what is refused."""

import pytest

from flowerml.campaign.plan.dry_run import as_lines
from flowerml.campaign.plan.model import FinalMode
from flowerml.errors import UserError
from tests.campaign.plans import SMALL, changed, plan_of

NAMES = ", ".join(f"C{rank}f{fold}" for rank in (1, 2) for fold in (1, 2, 3))
FOLDS = changed("seeds: [23, 47]}\n    runs: [C1, C2, C3, C4]", f"folds: 3}}\n    runs: [{NAMES}]")


def test_each_promoted_configuration_is_trained_on_every_fold_with_one_seed():
    runs = plan_of(FOLDS).phase("C").runs
    assert [(run.name, run.source.rank, run.seed, run.fold) for run in runs] == [
        (f"C{rank}f{fold}", rank, 11, fold) for rank in (1, 2) for fold in (1, 2, 3)
    ]


def test_seeds_and_folds_multiply():
    names = [f"C{number}" for number in range(12)]
    plan = plan_of(
        changed("seeds: [23, 47]}\n    runs: [C1, C2, C3, C4]", f"seeds: [11, 23], folds: 3}}\n    runs: {names}")
    )
    assert [(run.seed, run.fold) for run in plan.phase("C").runs[:6]] == [
        (seed, fold) for seed in (11, 23) for fold in (1, 2, 3)
    ]


def test_its_decision_is_about_its_own_runs_alone():
    """The phase before was judged on another split: no mean is taken over both."""
    plan = plan_of(FOLDS)
    assert [phase.name for phase in plan.ancestors(plan.phase("C"))] == ["C"]
    seeds = plan_of(SMALL)
    assert [phase.name for phase in seeds.ancestors(seeds.phase("C"))] == ["B", "C"]


def test_the_dry_run_names_the_folds():
    text = "\n".join(as_lines(plan_of(FOLDS)))
    assert "the best of phase B, seed 11, fold 2" in text
    assert "by the mean over all seeds and folds" in text


def test_folds_are_part_of_the_plans_digest_and_older_plans_keep_theirs():
    """The digest of SMALL is that of the version before folds were known."""
    assert (
        plan_of(FOLDS).digest
        != plan_of(
            FOLDS.replace("folds: 3}", "folds: 2}").replace(", C1f3, C2f1", ", C2f1").replace(", C2f3", "")
        ).digest
    )
    assert plan_of(SMALL).digest.startswith("3a4a630098b92c5eac7db18b0da2e723")


REFUSED = {
    "one fold": ("folds: 3}", "folds: 1}", "phases.C.confirm.folds is '1'"),
    "too few names": ("C2f3]", "C2f3, more]", "has 7 names and 6 runs (2 configurations on 1 seed and 3 folds)"),
    "neither seeds nor folds": ("folds: 3}", "with: {}}", "needs `seeds: […]` to repeat on, or `folds: N`"),
    "the best run kept": ("mode: retrain", "mode: keep_best", "each lack a fold of the pictures. Allowed: retrain"),
    "runs averaged": ("mode: retrain", "mode: soup", "each lack a fold of the pictures. Allowed: retrain"),
    "as a setting": ("B1: {lr_head: 1e-3}", "B1: {folds: 3}", "folds has no place in a plan"),
    "of another plan": (
        "confirm: {of: B, folds: 3}",
        "confirm: {of: tp3/C, family: cnn, folds: 3}",
        "folds: not with a phase of another plan",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    old, new, says = REFUSED[what]
    with pytest.raises(UserError) as caught:
        plan_of(changed(old, new, FOLDS))
    message = str(caught.value)
    assert says in message, message
    assert "\n" not in message
    assert message.startswith("plan.yaml")


def test_a_mode_given_with_set_is_refused_too():
    with pytest.raises(UserError, match="is keep_best, and the runs of phase C each lack a fold"):
        plan_of(FOLDS, f"final.mode={FinalMode.KEEP_BEST}")
