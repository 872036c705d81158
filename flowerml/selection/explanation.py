"""The decision in sentences: the winner, the deciding criterion, the uncertainty, and the reservations."""

from collections.abc import Sequence

from flowerml.selection.candidates import Gathered
from flowerml.selection.comparison import Comparison
from flowerml.selection.intervals import Interval, Over
from flowerml.selection.rank import Level, Standing, levels_of
from flowerml.selection.records import CandidateRun, Rule, Scope, seeds_in_words


def decision_sentences(
    gathered: Gathered,
    scope: Scope,
    standings: Sequence[Standing],
    comparison: Comparison | None,
    chosen: CandidateRun | None,
) -> tuple[str, ...]:
    """Two to six sentences, the outcome first, the reservations last."""
    if not standings or chosen is None:
        seeds = ", ".join(map(str, scope.seeds))
        return (
            f"No configuration is eligible: {len(gathered.ineligible)} found, each left out for a reason.",
            f"Asked for was a finished run with each of the seeds {seeds}, on split {gathered.split_digest[:8]}.",
        )
    said = [_winner_sentence(standings[0], len(standings), len(gathered.ineligible), scope.rule)]
    if comparison is None:
        said.append("No other configuration was eligible, so it is compared with none.")
    else:
        said.append(_decided_by(standings[0], standings[1], comparison, scope.rule))
        said.append(_separation_sentence(standings[0], standings[1], comparison))
    said.append(_uncertainty_sentence(standings))
    best = f"seed is {chosen.seed}" if chosen.fold is None else f"fold is {chosen.fold} of seed {chosen.seed}"
    said.append(f"The winner's best {best}, run {chosen.run_name} ({chosen.run_id[:8]}).")
    split = "on one split" if chosen.fold is None else "on one assignment to folds"
    said.append(
        f"All figures are after selection, on the pictures that also chose each run's epoch, and {split}, so they"
        " look better than new pictures will: only an untouched test folder (--test-dir) gives a figure free of that."
    )
    return tuple(sentence for sentence in said if sentence)


def _winner_sentence(winner: Standing, eligible: int, others: int, rule: Rule) -> str:
    runs = winner.configuration.runs
    spread = f"; standard deviation {winner.accuracy.deviation:.4f}" if winner.accuracy.deviation is not None else ""
    hits = f"; {winner.hits:,} hits of {winner.total:,}" if winner.hits is not None else ""
    interval = f", {_interval_text(winner.interval)}" if winner.interval else ""
    left_out = f" ({others} not eligible)" if others else ""
    over = f"{'over' if len(runs) > 1 else 'with'} {seeds_in_words(runs)}"
    field = f"{eligible} eligible configuration{'' if eligible == 1 else 's'}{left_out}"
    recall = ""
    if rule is Rule.MEAN_RECALL and winner.mean_recall is not None:
        recall = f" mean recall over the classes {winner.mean_recall.mean:.4f},"
    return (
        f"{winner.configuration.label} is the first of {field}:{recall} mean validation accuracy"
        f" {winner.accuracy.mean:.4f} {over} (n = {winner.accuracy.n}{spread}{hits}){interval}."
    )


def _decided_by(winner: Standing, second: Standing, comparison: Comparison, rule: Rule) -> str:
    """The criterion that decided against the runner-up; criteria that were tied are named."""
    runner_up = f"The runner-up is {second.configuration.label}"
    if comparison.decided_by is Level.ACCURACY:
        hits = (
            f" ({winner.hits:,} against {second.hits:,} hits)"
            if winner.hits is not None and second.hits is not None
            else ""
        )
        return f"{runner_up} with {second.accuracy.mean:.4f}: the mean accuracy decided{hits}."
    if comparison.decided_by is Level.MEAN_RECALL:
        return f"{runner_up}: the mean recall decided{_recalls(winner, second)}; what follows is about accuracy."
    order = levels_of(rule)
    equal = [str(level) for level in order[: order.index(comparison.decided_by)]]
    figures = {
        Level.MACRO_F1: f"the mean macro-F1 decided ({winner.macro_f1.mean:.6g} against {second.macro_f1.mean:.6g})",
        Level.VARIANCE: (
            "the smaller variance between seeds decided (standard deviation "
            f"{_deviation(winner, rule):.6f} against {_deviation(second, rule):.6f})"
        ),
        Level.PLAN: "the order of the plan decided",
        Level.CONFIG_ID: "the configuration id decided, which is as good as a coin",
    }
    return f"{runner_up}, equal in {' and '.join(equal)}: {figures[comparison.decided_by]}."


def _recalls(winner: Standing, second: Standing) -> str:
    if winner.mean_recall is None or second.mean_recall is None:
        return ""
    return f" ({winner.mean_recall.mean:.4f} against {second.mean_recall.mean:.4f})"


def _deviation(standing: Standing, rule: Rule) -> float:
    figures = standing.mean_recall if rule is Rule.MEAN_RECALL else standing.accuracy
    return 0.0 if figures is None or figures.deviation is None else figures.deviation


def _separation_sentence(winner: Standing, second: Standing, comparison: Comparison) -> str:
    points = f"{100 * comparison.difference:+.2f} points"
    if comparison.interval is None:
        return (
            f"The difference is {points}; whether the two are separated can't be said without per-picture results or"
            " more seeds."
        )
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    measured = (
        f"The difference is {points} (95 % interval {low:+.2f} to {high:+.2f} over {comparison.interval.over}, paired)"
    )
    if comparison.separated:
        return f"{measured}: separated."
    if comparison.separated is None:
        return f"{measured}; whether the two are separated can't be said without per-picture results."
    if comparison.cheaper is not None:
        name = next(
            one.configuration.label for one in (winner, second) if one.configuration.config_id == comparison.cheaper
        )
        cost = f"the cheaper model of the two is {name}"
    else:
        cost = "both models cost the same" if comparison.cost_known else "which model is cheaper is not known"
    return f"{measured}: not separated; {cost}, and the rule still decides."


def _uncertainty_sentence(standings: Sequence[Standing]) -> str:
    """P(best), and which variance the interval leaves out."""
    winner = standings[0]
    said: list[str] = []
    if winner.p_best is not None:
        compared = sum(standing.p_best is not None for standing in standings)
        said.append(f"the winner is the best of {compared} in {100 * winner.p_best:.0f} % of the resamples")
    if winner.interval is None:
        said.append("without per-picture results there is no interval: there is one seed, or all seeds are equal")
    elif winner.interval.over is Over.PICTURES:
        said.append("with one seed only pictures were resampled, so what another seed would change is in no interval")
    elif winner.interval.over is Over.SEEDS:
        said.append(
            "without per-picture results its interval is over seeds alone (Student's t), without the chance in the"
            " pictures"
        )
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _interval_text(interval: Interval) -> str:
    return f"95 % interval {interval.low:.4f} to {interval.high:.4f} over {interval.over}"
