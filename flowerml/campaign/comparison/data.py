"""What two campaigns left at the tracking server: the runs of their chosen configurations, with predictions."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowerml.campaign.state.run_status import read_history
from flowerml.campaign.status import Epoch
from flowerml.errors import UserError
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.progress_bar import track
from flowerml.settings.declaration import fields
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import metadata
from flowerml.text import distinct_nfc
from flowerml.tracking.search.campaigns import ServerRun, campaigns_of_plan, fetch_artifact, runs_of_campaign

_FILES = ("history.csv", "predictions.csv", "settings.json", "split.json")


@dataclass(frozen=True)
class SeedRun:
    """One run of a configuration.

    `predicted` (N,) are class numbers in the order of `ComparisonData.ids`; `lr_cuts` the epochs after which the
    learning rates were reduced; `seconds` the wall time from start to end; `metrics` the last values at the server.
    """

    name: str
    run_id: str
    seed: int
    best_epoch: int
    history: tuple[Epoch, ...]
    lr_cuts: tuple[int, ...]
    seconds: float
    end_reason: str
    predicted: np.ndarray
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Side:
    """A campaign and the runs of the configuration it chose, one per seed that both sides have."""

    plan: str
    campaign: str
    config_id: str
    overrides: str
    baseline: str
    settings: Mapping[str, Any]
    runs: tuple[SeedRun, ...]


@dataclass(frozen=True)
class ComparisonData:
    """Both sides, evaluated on the same examples.

    `ids` name the N examples, `labels` (N,) are true class numbers, and `pictures` (N) says which picture an example is
    of: examples of one picture are not independent.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    pictures: tuple[str, ...]
    data_digest: str
    split_digest: str
    first: Side
    second: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """First and second."""
        return self.first, self.second

    @property
    def differing_settings(self) -> list[tuple[str, str, str]]:
        """Settings with different values, as text: name, value of the first, value of the second."""
        pairs = [
            (name, *(_setting_text(side.settings.get(name)) for side in self.sides)) for name in _compared_settings()
        ]
        return [(name, first, second) for name, first, second in pairs if first != second]


def load_comparison(first: str, second: str) -> ComparisonData:
    """Load the newest finished campaigns of two plans (or two campaigns by name) on the same pictures and split.

    Raises:
        UserError: there are none, they have no seed in common, or files of their runs can't be fetched.
    """
    campaigns = _newest_matching_pair(first, second)
    decisions = [_family_decisions(campaign) for campaign in campaigns]
    family = _common_family(decisions, campaigns)
    runs = [_chosen_runs(campaign, found[family]) for campaign, found in zip(campaigns, decisions, strict=True)]
    seeds = [seed for seed in sorted(runs[0]) if seed in runs[1]]
    if not seeds:
        names = " and ".join(map(_campaign_name, campaigns))
        raise UserError(f"{names} have no seed in common: {sorted(runs[0])}, {sorted(runs[1])}")
    compared = [by_seed[seed] for by_seed in runs for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="flowerml-compare-") as scratch:
        folders = {run.run_id: Path(scratch) / run.run_id for run in compared}
        for run in track(compared, "files of runs"):
            for name in _FILES:
                fetch_artifact(run.run_id, name, folders[run.run_id])
        ids, classes, labels, pictures = _read_examples(folders[compared[0].run_id])
        sides = [
            _read_side(campaign, found[family], [by_seed[seed] for seed in seeds], folders, ids, classes)
            for campaign, found, by_seed in zip(campaigns, decisions, runs, strict=True)
        ]
    digests = campaigns[0].tags["data_digest"], campaigns[0].tags["split_digest"]
    return ComparisonData(classes, ids, labels, pictures, *digests, *sides)


def _newest_matching_pair(first: str, second: str) -> tuple[ServerRun, ServerRun]:
    """The newest campaign of the second plan that has a match in data and split, and the newest match."""
    found = [_finished_campaigns(first), _finished_campaigns(second)]
    for late in reversed(found[1]):
        for early in reversed(found[0]):
            if _digests(early) == _digests(late) and early.run_id != late.run_id:
                return early, late
    raise UserError(
        f"no finished campaigns of {first} and {second} on the same pictures and split are at the tracking server;"
        " there are:",
        [
            f"{_campaign_name(run)}: data {run.tags['data_digest'][:8]} split {run.tags['split_digest'][:8]}"
            for run in (*found[0], *found[1])
        ],
    )


def _finished_campaigns(name: str) -> list[ServerRun]:
    """The finished campaigns of the plan, or the campaign, of that name, oldest first."""
    runs = campaigns_of_plan(name) or runs_of_campaign(name, ("campaign",))
    if finished := [run for run in runs if run.status == "FINISHED"]:
        return finished
    unfinished = f" ({len(runs)} not finished)" if runs else ""
    raise UserError(
        f"no finished campaign of {name} is at the tracking server{unfinished}: run it first (flowerml campaign --plan"
        f" {name})"
    )


def _family_decisions(campaign: ServerRun) -> dict[str, ServerRun]:
    """The last decision of a campaign by family."""
    runs = runs_of_campaign(campaign.tags["campaign"], ("select",))
    return {
        run.tags["family"]: run
        for run in runs
        if run.status == "FINISHED" and "winner" in run.tags and "family" in run.tags
    }


def _common_family(decisions: Sequence[Mapping[str, ServerRun]], campaigns: Sequence[ServerRun]) -> str:
    common = [family for family in decisions[0] if family in decisions[1]]
    if len(common) == 1:
        return common[0]
    names = " and ".join(map(_campaign_name, campaigns))
    raise UserError(
        f"{names} have each chosen {' and '.join(common) or 'nothing of one family'}: exactly one family is compared"
    )


def _chosen_runs(campaign: ServerRun, decision: ServerRun) -> dict[int, ServerRun]:
    """The newest finished run of each seed of the chosen configuration. Raises UserError for folds."""
    runs = [
        run
        for run in runs_of_campaign(campaign.tags["campaign"], ("train",))
        if run.status == "FINISHED" and run.tags.get("config_id") == decision.tags["winner"]
    ]
    if any("fold" in run.tags for run in runs):
        raise UserError(
            f"{_campaign_name(campaign)} has confirmed its choice by folds, each on other pictures. Allowed: campaigns"
            " that have chosen on seeds, on one split"
        )
    return {int(run.tags["seed"]): run for run in runs}


def _read_examples(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Ids, classes, labels and pictures of the validation examples of the run with its files in `folder`."""
    table = read_predictions(folder / "predictions.csv")
    if table is None:
        raise UserError(f"predictions.csv of run {folder.name} can't be read")
    stored = json.loads((folder / "split.json").read_text("utf-8"))["sha256"]
    sha256 = dict(zip(distinct_nfc([*stored]), stored.values(), strict=True))
    return table.images, table.classes, table.labels, tuple(sha256.get(image, image) for image in table.images)


def _read_side(
    campaign: ServerRun,
    decision: ServerRun,
    runs: Sequence[ServerRun],
    folders: Mapping[str, Path],
    ids: tuple[str, ...],
    classes: tuple[str, ...],
) -> Side:
    settings = json.loads((folders[runs[0].run_id] / "settings.json").read_text("utf-8"))["settings"]
    return Side(
        plan=campaign.tags["plan"],
        campaign=campaign.tags["campaign"],
        config_id=decision.tags["winner"],
        overrides=campaign.tags.get("overrides", "none"),
        baseline=runs[0].tags.get("best_baseline", ""),
        settings=settings,
        runs=tuple(_read_seed_run(run, folders[run.run_id], ids, classes) for run in runs),
    )


def _read_seed_run(run: ServerRun, folder: Path, ids: tuple[str, ...], classes: tuple[str, ...]) -> SeedRun:
    name = run.tags.get("plan_run", run.run_id)
    table, history = read_predictions(folder / "predictions.csv"), read_history(folder)
    if table is None or not history:
        raise UserError(f"predictions.csv or history.csv of run {name} can't be read")
    positions = {image: position for position, image in enumerate(table.images)}
    if positions.keys() != {*ids} or table.classes != classes:
        raise UserError(f"run {name} was judged on other examples than the others: they can't be compared")
    cuts = run.tags.get("rates_cut_after", "")
    return SeedRun(
        name=name,
        run_id=run.run_id,
        seed=int(run.tags["seed"]),
        best_epoch=round(run.metrics["best_epoch"]),
        history=history,
        lr_cuts=tuple(map(int, cuts.split(","))) if cuts else (),
        seconds=run.seconds or float("nan"),
        end_reason=run.tags.get("ended", ""),
        predicted=table.predicted[[positions[image] for image in ids]],
        metrics=run.metrics,
    )


def _compared_settings() -> list[str]:
    """Settings that are part of a configuration's identity, and the weights."""
    return [name for name, field in fields().items() if metadata(field, "identity") or name == "weights"]


def _setting_text(value: Any) -> str:  # noqa: ANN401 - a setting's plain value
    text = as_text(tuple(value) if isinstance(value, list) else value)
    return Path(text).name if "/" in text else text


def _digests(campaign: ServerRun) -> tuple[str | None, str | None]:
    return campaign.tags.get("data_digest"), campaign.tags.get("split_digest")


def _campaign_name(campaign: ServerRun) -> str:
    return campaign.tags.get("campaign", campaign.run_id)
