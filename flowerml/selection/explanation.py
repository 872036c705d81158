"""The decision in sentences: the winner, the deciding criterion, the uncertainty, and the reservations.

Sentences are put together of translatable parts; what a part says of another stands in a name between braces.
"""

from collections.abc import Sequence

from flowerml.selection.comparison import Comparison
from flowerml.selection.intervals import Interval, Over
from flowerml.selection.rank import Level, Standing, levels_of
from flowerml.selection.records import CandidateRun, Rule, Scope, seeds_in_words
from flowerml.translation import ENGLISH, Translation


def decision_sentences(
    scope: Scope,
    standings: Sequence[Standing],
    comparison: Comparison | None,
    chosen: CandidateRun | None,
    *,
    ineligible: int,
    split_digest: str,
    texts: Translation = ENGLISH,
) -> tuple[str, ...]:
    """Two to six sentences, the outcome first, the reservations last; `ineligible` configurations were left out."""
    _ = texts.gettext
    if not standings or chosen is None:
        return (
            _("No configuration is eligible: {number} found, each left out for a reason.", number=ineligible),
            _(
                "Asked for was a finished run with each of the seeds {seeds}, on split {split}.",
                seeds=", ".join(map(str, scope.seeds)),
                split=split_digest[:8],
            ),
        )
    said = [_winner_sentence(standings[0], len(standings), ineligible, scope.rule, texts)]
    if comparison is None:
        said.append(_("No other configuration was eligible, so it is compared with none."))
    else:
        said.append(_decided_by(standings[0], standings[1], comparison, scope.rule, texts))
        said.append(_separation_sentence(standings[0], standings[1], comparison, texts))
    said.append(_uncertainty_sentence(standings, texts))
    said += _chosen_sentences(chosen, texts)
    return tuple(sentence for sentence in said if sentence)


def _chosen_sentences(chosen: CandidateRun, texts: Translation) -> list[str]:
    """Which run was chosen, and what all figures leave out."""
    _ = texts.gettext
    run = {"seed": chosen.seed, "run": chosen.run_name, "id": chosen.run_id[:8]}
    if chosen.fold is None:
        best = _("The winner's best seed is {seed}, run {run} ({id}).", **run)
        split = _("on one split")
    else:
        best = _("The winner's best fold is {fold} of seed {seed}, run {run} ({id}).", fold=chosen.fold, **run)
        split = _("on one assignment to folds")
    reservation = _(
        "All figures are after selection, on the pictures that also chose each run's epoch, and {split}, so they look"
        " better than new pictures will: only an untouched test folder (--test-dir) gives a figure free of that.",
        split=split,
    )
    return [best, reservation]


def _winner_sentence(winner: Standing, eligible: int, others: int, rule: Rule, texts: Translation) -> str:
    _, runs = texts.gettext, winner.configuration.runs
    spread, hits, interval, recall = "", "", "", ""
    if winner.accuracy.deviation is not None:
        spread = _("; standard deviation {deviation:.4f}", deviation=winner.accuracy.deviation)
    if winner.hits is not None and winner.total is not None:
        hits = _("; {hits} hits of {total}", hits=texts.integer(winner.hits), total=texts.integer(winner.total))
    if winner.interval:
        interval = f", {_interval_text(winner.interval, texts)}"
    if rule is Rule.MEAN_RECALL and winner.mean_recall is not None:
        recall = _(" mean recall over the classes {recall:.4f},", recall=winner.mean_recall.mean)
    seeds = seeds_in_words(runs, texts)
    return _(
        "{winner} is the first of {eligible}:{recall} mean validation accuracy {accuracy:.4f} {over}"
        " (n = {n}{spread}{hits}){interval}.",
        winner=winner.configuration.label,
        eligible=_eligible_text(eligible, others, texts),
        recall=recall,
        accuracy=winner.accuracy.mean,
        over=_("over {seeds}", seeds=seeds) if len(runs) > 1 else _("with {seeds}", seeds=seeds),
        n=winner.accuracy.n,
        spread=spread,
        hits=hits,
        interval=interval,
    )


def _eligible_text(eligible: int, others: int, texts: Translation) -> str:
    text = texts.ngettext("{number} eligible configuration", "{number} eligible configurations", eligible)
    return text + (texts.gettext(" ({number} not eligible)", number=others) if others else "")


def _decided_by(winner: Standing, second: Standing, comparison: Comparison, rule: Rule, texts: Translation) -> str:
    """The criterion that decided against the runner-up; criteria that were tied are named."""
    _, name = texts.gettext, second.configuration.label
    if comparison.decided_by is Level.ACCURACY:
        hits = ""
        if winner.hits is not None and second.hits is not None:
            hits = _(
                " ({hits} against {others} hits)", hits=texts.integer(winner.hits), others=texts.integer(second.hits)
            )
        return _(
            "The runner-up is {name} with {accuracy:.4f}: the mean accuracy decided{hits}.",
            name=name,
            accuracy=second.accuracy.mean,
            hits=hits,
        )
    if comparison.decided_by is Level.MEAN_RECALL:
        return _(
            "The runner-up is {name}: the mean recall decided{recalls}; what follows is about accuracy.",
            name=name,
            recalls=_recalls(winner, second, texts),
        )
    order = levels_of(rule)
    equal = [texts.translated(level) for level in order[: order.index(comparison.decided_by)]]
    return _(
        "The runner-up is {name}, equal in {equal}: {decided}.",
        name=name,
        equal=_(" and ").join(equal),
        decided=_tie_breaker(winner, second, comparison.decided_by, rule, texts),
    )


def _tie_breaker(winner: Standing, second: Standing, level: Level, rule: Rule, texts: Translation) -> str:
    _ = texts.gettext
    if level is Level.MACRO_F1:
        return _(
            "the mean macro-F1 decided ({first:.6g} against {second:.6g})",
            first=winner.macro_f1.mean,
            second=second.macro_f1.mean,
        )
    if level is Level.VARIANCE:
        return _(
            "the smaller variance between seeds decided (standard deviation {first:.6f} against {second:.6f})",
            first=_deviation(winner, rule),
            second=_deviation(second, rule),
        )
    if level is Level.PLAN:
        return _("the order of the plan decided")
    return _("the configuration id decided, which is as good as a coin")


def _recalls(winner: Standing, second: Standing, texts: Translation) -> str:
    if winner.mean_recall is None or second.mean_recall is None:
        return ""
    return texts.gettext(
        " ({first:.4f} against {second:.4f})", first=winner.mean_recall.mean, second=second.mean_recall.mean
    )


def _deviation(standing: Standing, rule: Rule) -> float:
    figures = standing.mean_recall if rule is Rule.MEAN_RECALL else standing.accuracy
    return 0.0 if figures is None or figures.deviation is None else figures.deviation


def _separation_sentence(winner: Standing, second: Standing, comparison: Comparison, texts: Translation) -> str:
    _, points = texts.gettext, 100 * comparison.difference
    if comparison.interval is None:
        return _(
            "The difference is {points:+.2f} points; whether the two are separated can't be said without per-picture"
            " results or more seeds.",
            points=points,
        )
    measured = _(
        "The difference is {points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f} over {over}, paired)",
        points=points,
        low=100 * comparison.interval.low,
        high=100 * comparison.interval.high,
        over=texts.translated(comparison.interval.over),
    )
    if comparison.separated:
        return _("{measured}: separated.", measured=measured)
    if comparison.separated is None:
        return _(
            "{measured}; whether the two are separated can't be said without per-picture results.", measured=measured
        )
    if comparison.cheaper is not None:
        name = next(
            one.configuration.label for one in (winner, second) if one.configuration.config_id == comparison.cheaper
        )
        cost = _("the cheaper model of the two is {name}", name=name)
    else:
        cost = _("both models cost the same") if comparison.cost_known else _("which model is cheaper is not known")
    return _("{measured}: not separated; {cost}, and the rule still decides.", measured=measured, cost=cost)


def _uncertainty_sentence(standings: Sequence[Standing], texts: Translation) -> str:
    """P(best), and which variance the interval leaves out."""
    _, winner = texts.gettext, standings[0]
    said: list[str] = []
    if winner.p_best is not None:
        compared = sum(standing.p_best is not None for standing in standings)
        said.append(
            _(
                "the winner is the best of {compared} in {share:.0f} % of the resamples",
                compared=compared,
                share=100 * winner.p_best,
            )
        )
    if winner.interval is None:
        said.append(_("without per-picture results there is no interval: there is one seed, or all seeds are equal"))
    elif winner.interval.over is Over.PICTURES:
        said.append(
            _("with one seed only pictures were resampled, so what another seed would change is in no interval")
        )
    elif winner.interval.over is Over.SEEDS:
        said.append(
            _(
                "without per-picture results its interval is over seeds alone (Student's t), without the chance in the"
                " pictures"
            )
        )
    text = _("; ").join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _interval_text(interval: Interval, texts: Translation) -> str:
    return texts.gettext(
        "95 % interval {low:.4f} to {high:.4f} over {over}",
        low=interval.low,
        high=interval.high,
        over=texts.translated(interval.over),
    )
