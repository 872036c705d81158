"""The decision: ranking, intervals, winner, runner-up and chosen run, as sentences and as JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowerml.selection.candidates import Ineligible
from flowerml.selection.comparison import Comparison, compare, picture_matrices
from flowerml.selection.explanation import decision_sentences
from flowerml.selection.gains import Gain, gains_over_base
from flowerml.selection.intervals import RESAMPLES, bootstrap_intervals, interval_over_seeds
from flowerml.selection.rank import Ranking, Spread, Standing, add_hits, best_run, require_value
from flowerml.selection.records import CandidateRun, PictureResults, Rule, Scope
from flowerml.translation import ENGLISH, Translation


@dataclass(frozen=True)
class Decision:
    """The result of a selection. `chosen` is the winner's best seed: the run whose weights are registered.

    `standings` are the eligible configurations by place; without any, `winner` and `chosen` are None. `gains` are those
    over the base, where the scope has one.
    """

    scope: Scope
    data_digest: str
    split_digest: str
    standings: tuple[Standing, ...]
    ineligible: tuple[Ineligible, ...]
    remarks: tuple[str, ...]
    comparison: Comparison | None
    chosen: CandidateRun | None
    sentences: tuple[str, ...]
    gains: tuple[Gain, ...] = ()

    @property
    def winner(self) -> Standing | None:
        """The first place."""
        return self.standings[0] if self.standings else None

    @property
    def words(self) -> str:
        """The decision in two to six sentences."""
        return " ".join(self.sentences)

    def explain(self, texts: Translation) -> tuple[str, ...]:
        """The sentences in a language; those of the record itself are English."""
        if texts is ENGLISH:
            return self.sentences
        return decision_sentences(
            self.scope,
            self.standings,
            self.comparison,
            self.chosen,
            ineligible=len(self.ineligible),
            split_digest=self.split_digest,
            texts=texts,
        )

    @property
    def key(self) -> str:
        """sha256 (hex) of the decision's identity: data and split digest, and the winner's run for each seed."""
        runs = self.winner.configuration.runs if self.winner else ()
        chosen = [self.data_digest, self.split_digest, sorted([run.config_id, run.seed, run.run_id] for run in runs)]
        return hashlib.sha256(json.dumps(chosen, separators=(",", ":")).encode("utf-8")).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The decision as plain values."""
        return {
            "words": self.words,
            "key": self.key,
            "data_digest": self.data_digest,
            "split_digest": self.split_digest,
            **(
                {"rule": str(self.scope.rule)} if self.scope.rule is not Rule.ACCURACY else {}
            ),  # as in earlier versions
            "seeds": list(self.scope.seeds),
            "kinds": list(self.scope.kinds),
            "family": self.scope.family,
            "campaign": self.scope.campaign,
            "winner": self.winner.configuration.config_id if self.winner else None,
            "chosen_run": _run_json(self.chosen, self.scope.rule) if self.chosen else None,
            "comparison": self.comparison.as_json() if self.comparison else None,
            "ranking": [_standing_json(standing, self.scope.rule) for standing in self.standings],
            "not_eligible": [
                {
                    "config_id": left_out.config_id,
                    "label": left_out.label,
                    "reasons": list(left_out.reasons),
                    "runs": [_run_json(run, self.scope.rule) for run in left_out.runs],
                }
                for left_out in self.ineligible
            ],
            "remarks": list(self.remarks),
            **({"gains": [gain.as_json() for gain in self.gains]} if self.gains else {}),
        }


def make_decision(
    ranking: Ranking, results: Mapping[str, PictureResults] | None = None, resamples: int = RESAMPLES
) -> Decision:
    """Add intervals, comparison, chosen run and sentences to a ranking, whose order stays.

    `results` are per-picture results by run_id, of as many runs as were fetched: those of the first two places give the
    comparison, those of all give P(best) over all. A configuration without usable ones has Student's interval over its
    seeds.
    """
    results, gathered, scope = results or {}, ranking.gathered, ranking.scope
    standings = tuple(add_hits(standing, results) for standing in ranking.standings)
    right, remarks = picture_matrices([standing.configuration for standing in standings], results)
    leaders = [standing.configuration.config_id for standing in standings[:2]]
    pair = (leaders[0], leaders[1]) if len(leaders) == 2 and all(name in right for name in leaders) else None
    bootstrap = bootstrap_intervals(right, pair, resamples)
    # P(best) of a single configuration says nothing.
    p_best = bootstrap.p_best if len(bootstrap.p_best) > 1 else {}
    standings = tuple(
        replace(
            standing,
            interval=bootstrap.intervals.get(standing.configuration.config_id)
            or interval_over_seeds(_accuracies(standing)),
            p_best=p_best.get(standing.configuration.config_id),
        )
        for standing in standings
    )
    comparison = compare(standings, bootstrap.difference) if len(standings) > 1 else None
    base = scope.base_order
    chosen = best_run(standings[0].configuration.runs, scope.rule) if standings else None
    return Decision(
        scope=scope,
        data_digest=gathered.data_digest,
        split_digest=gathered.split_digest,
        standings=standings,
        ineligible=gathered.ineligible,
        remarks=(*gathered.remarks, *remarks),
        comparison=comparison,
        chosen=chosen,
        sentences=decision_sentences(
            scope,
            standings,
            comparison,
            chosen,
            ineligible=len(gathered.ineligible),
            split_digest=gathered.split_digest,
        ),
        gains=() if base is None else gains_over_base(standings, base, right, resamples),
    )


def _accuracies(standing: Standing) -> list[float]:
    return [require_value(run.accuracy) for run in standing.configuration.runs]


def _standing_json(standing: Standing, rule: Rule) -> dict[str, Any]:
    return {
        "place": standing.place,
        "config_id": standing.configuration.config_id,
        "label": standing.configuration.label,
        "accuracy": _spread_json(standing.accuracy),
        "macro_f1": _spread_json(standing.macro_f1),
        **(
            {"mean_recall": _spread_json(standing.mean_recall)}
            if rule is Rule.MEAN_RECALL and standing.mean_recall
            else {}
        ),
        "hits": standing.hits,
        "total": standing.total,
        "interval_95": standing.interval.as_json() if standing.interval else None,
        "p_best": standing.p_best,
        "ahead_by": str(standing.ahead_by) if standing.ahead_by else None,
        "runs": [_run_json(run, rule) for run in standing.configuration.runs],
    }


def _spread_json(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "standard_deviation": spread.deviation, "n": spread.n}


def _run_json(run: CandidateRun, rule: Rule) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "run_name": run.run_name,
        "seed": run.seed,
        "status": run.status,
        "accuracy": _finite(run.accuracy),
        "macro_f1": _finite(run.macro_f1),
        **({"mean_recall": _finite(run.mean_recall)} if rule is Rule.MEAN_RECALL else {}),
        "hits": run.hits,
        "total": run.total,
        "best_epoch": run.best_epoch,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and abs(value) < float("inf") else None
