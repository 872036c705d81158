"""Tags and description of a registered version: the decision that chose it, and reading it back."""

from mlflow.entities.model_registry import ModelVersion

from flowerml.selection.decision import Decision
from flowerml.selection.rank import levels_of
from flowerml.selection.records import CandidateRun, Rule
from flowerml.selection.registration import Champion, candidate

DECISION = "flowerml.decision"


def rule_words(rule: Rule) -> str:
    """A rule in words, its criteria in order."""
    first, *ties = levels_of(rule)
    return f"{first} over the seeds; where it is equal: {', then '.join(ties)}"


def version_tags(decision: Decision, run_id: str, digest: str, *, retrained: bool) -> dict[str, str]:
    """The tags of a version (rule, runs, seeds, metrics, digests), with which later decisions are compared.

    `run_id` is the run whose weights it has, `digest` the sha256 of the weights file.
    """
    winner = decision.winner
    assert winner is not None
    runs = sorted(winner.configuration.runs, key=lambda run: run.place)
    tags = {
        DECISION: decision.key,
        "flowerml.rule": rule_words(decision.scope.rule),
        "flowerml.config_id": winner.configuration.config_id,
        "flowerml.data_digest": decision.data_digest,
        "flowerml.split_digest": decision.split_digest,
        "flowerml.seeds": ",".join(dict.fromkeys(str(run.seed) for run in runs)),
        "flowerml.runs": ",".join(run.run_id for run in runs),
        "flowerml.source_run": run_id,
        "flowerml.retrained": "true" if retrained else "false",
        "flowerml.mean_val_accuracy": repr(winner.accuracy.mean),
        "flowerml.mean_val_macro_f1": repr(winner.macro_f1.mean),
        "flowerml.weights_sha256": digest,
    }
    record = candidate(decision)
    if record.mean_recall is not None:
        tags |= {"flowerml.ranked_by": str(record.rule), "flowerml.mean_val_mean_recall": repr(record.mean_recall)}
    if record.deviation is not None:
        tags["flowerml.deviation"] = repr(record.deviation)
    if runs[0].folds is not None:
        tags["flowerml.folds"] = str(runs[0].folds)
    if winner.hits is not None:
        tags |= {"flowerml.hits": str(winner.hits), "flowerml.total": str(winner.total)}
    if winner.interval is not None:
        tags["flowerml.interval_95"] = (
            f"{winner.interval.low:.6f} to {winner.interval.high:.6f} over {winner.interval.over}"
        )
    return tags


def read_champion(version: ModelVersion | None) -> Champion | None:
    """The decision in a version's tags; None for no version or one registered by hand."""
    if version is None or DECISION not in version.tags:
        return None
    tags = version.tags

    def number(name: str) -> float | None:
        return float(tags[name]) if name in tags else None

    def integer(name: str) -> int | None:
        return int(tags[name]) if name in tags else None

    return Champion(
        version=str(version.version),
        key=tags[DECISION],
        config_id=tags["flowerml.config_id"],
        split_digest=tags["flowerml.split_digest"],
        seeds=tuple(int(seed) for seed in tags["flowerml.seeds"].split(",")),
        mean=float(tags["flowerml.mean_val_accuracy"]),
        hits=integer("flowerml.hits"),
        total=integer("flowerml.total"),
        macro_f1=number("flowerml.mean_val_macro_f1"),
        deviation=number("flowerml.deviation"),
        retrained=tags["flowerml.retrained"] == "true",
        rule=Rule(tags.get("flowerml.ranked_by", Rule.ACCURACY)),
        mean_recall=number("flowerml.mean_val_mean_recall"),
    )


def version_description(decision: Decision) -> str:
    """The selection rule and the winner's runs, as Markdown with a table."""
    winner = decision.winner
    assert winner is not None
    rows = [
        f"| {_seed_cell(run)} | {run.run_name} | `{run.run_id}` | {run.accuracy:.4f} | {run.macro_f1:.4f} |"
        for run in sorted(winner.configuration.runs, key=lambda run: run.place)
    ]
    head = ["| seed | run | id | accuracy | macro-F1 |", "|---:|---|---|---:|---:|"]
    return "\n".join([f"Rule: {rule_words(decision.scope.rule)}.", "", *head, *rows])


def _seed_cell(run: CandidateRun) -> str:
    return str(run.seed) if run.fold is None else f"{run.seed}, fold {run.fold}"
