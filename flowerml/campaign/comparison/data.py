"""What two campaigns left at the tracking server, as plain records: their chosen configurations' runs, answer by
answer.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowerml.campaign.report.champion_section import read_predictions
from flowerml.campaign.state.run_status import read_history
from flowerml.campaign.status import Epoch
from flowerml.errors import UserError
from flowerml.progress_bar import track
from flowerml.settings.declaration import fields
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import note
from flowerml.tracking.search.campaigns import KnownRun, campaigns_of_plan, fetch_artifact, runs_of_campaign

_FILES = ("history.csv", "predictions.csv", "settings.json", "split.json")


@dataclass(frozen=True)
class SeedRun:
    """One run of a configuration. `predicted` (N,) are class numbers in the order of `Material.ids`; `cuts` the epochs
    after which the rates were cut; `seconds` from its start to its end; `metrics` the last values at the server.
    """

    name: str
    run_id: str
    seed: int
    best_epoch: int
    history: tuple[Epoch, ...]
    cuts: tuple[int, ...]
    seconds: float
    ended: str
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
    """Both sides, judged on the same examples: `ids`, true class numbers `labels` (N,), and in `pictures` which belong
    together as they are of one picture.
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
    def differing(self) -> list[tuple[str, str, str]]:
        """Settings that are not the same: name, of the first, of the second, as text."""
        pairs = [
            (name, *(_shown(side.settings.get(name)) for side in (self.first, self.second))) for name in _shaping()
        ]
        return [(name, one, other) for name, one, other in pairs if one != other]


def load_comparison(first: str, second: str) -> ComparisonData:
    """The newest finished campaigns of two plans (or those two campaigns, by their names) on the same pictures and
    split.

    Raises:
        UserError: there are none, they have no seed in common, or their runs' files can't be had.
    """
    one, other = _pair(first, second)
    decided = [_decided(campaign) for campaign in (one, other)]
    family = _common_family(decided, (one, other))
    chosen = [_runs(campaign, found[family]) for campaign, found in zip((one, other), decided, strict=True)]
    seeds = [seed for seed in sorted(chosen[0]) if seed in chosen[1]]
    if not seeds:
        raise UserError(
            f"{_name(one)} and {_name(other)} have no seed in common: {sorted(chosen[0])}, {sorted(chosen[1])}"
        )
    wanted = [runs[seed] for runs in chosen for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="flowerml-compare-") as scratch:
        folders = {run.run_id: Path(scratch) / run.run_id for run in wanted}
        for run in track(wanted, "files of runs"):
            for name in _FILES:
                fetch_artifact(run.run_id, name, folders[run.run_id])
        ids, classes, labels, pictures = _examples(folders[wanted[0].run_id])
        sides = [
            _side(campaign, found[family], [runs[seed] for seed in seeds], folders, ids, classes)
            for campaign, found, runs in zip((one, other), decided, chosen, strict=True)
        ]
    return ComparisonData(classes, ids, labels, pictures, one.tags["data_digest"], one.tags["split_digest"], *sides)


def _pair(first: str, second: str) -> tuple[KnownRun, KnownRun]:
    """The newest of the second of which there is one of the first with the same digests; of these the newest."""
    found = [_finished(first), _finished(second)]
    for other in reversed(found[1]):
        for one in reversed(found[0]):
            if _digests(one) == _digests(other) and one.run_id != other.run_id:
                return one, other
    raise UserError(
        f"no finished campaigns of {first} and {second} on the same pictures and split are at the tracking server;"
        " there are:",
        [
            f"{_name(run)}: data {run.tags['data_digest'][:8]} split {run.tags['split_digest'][:8]}"
            for run in (*found[0], *found[1])
        ],
    )


def _finished(asked: str) -> list[KnownRun]:
    runs = campaigns_of_plan(asked) or runs_of_campaign(asked, ("campaign",))
    if finished := [run for run in runs if run.status == "FINISHED"]:
        return finished
    standing = f" ({len(runs)} not finished)" if runs else ""
    raise UserError(
        f"no finished campaign of {asked} is at the tracking server{standing}: run it first (flowerml campaign --plan"
        f" {asked})"
    )


def _decided(campaign: KnownRun) -> dict[str, KnownRun]:
    """By family the last decision of a campaign."""
    found = runs_of_campaign(campaign.tags["campaign"], ("select",))
    return {
        run.tags["family"]: run
        for run in found
        if run.status == "FINISHED" and "winner" in run.tags and "family" in run.tags
    }


def _common_family(decided: Sequence[Mapping[str, KnownRun]], campaigns: Sequence[KnownRun]) -> str:
    common = [family for family in decided[0] if family in decided[1]]
    if len(common) == 1:
        return common[0]
    names = " and ".join(map(_name, campaigns))
    raise UserError(
        f"{names} have each chosen {' and '.join(common) or 'nothing of one family'}: exactly one family is compared"
    )


def _runs(campaign: KnownRun, decided: KnownRun) -> dict[int, KnownRun]:
    """The newest finished run of each seed of the configuration that was chosen."""
    runs = runs_of_campaign(campaign.tags["campaign"], ("train",))
    return {
        int(run.tags["seed"]): run
        for run in runs
        if run.status == "FINISHED" and run.tags.get("config_id") == decided.tags["winner"]
    }


def _examples(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, tuple[str, ...]]:
    said = read_predictions(folder / "predictions.csv")
    if said is None:
        raise UserError(f"predictions.csv of run {folder.name} can't be read")
    content = json.loads((folder / "split.json").read_text("utf-8"))["sha256"]
    return said.images, said.classes, said.labels, tuple(content.get(image, image) for image in said.images)


def _side(
    campaign: KnownRun,
    decided: KnownRun,
    runs: Sequence[KnownRun],
    folders: Mapping[str, Path],
    ids: tuple[str, ...],
    classes: tuple[str, ...],
) -> Side:
    settings = json.loads((folders[runs[0].run_id] / "settings.json").read_text("utf-8"))["settings"]
    return Side(
        plan=campaign.tags["plan"],
        campaign=campaign.tags["campaign"],
        config_id=decided.tags["winner"],
        overrides=campaign.tags.get("overrides", "none"),
        baseline=runs[0].tags.get("best_baseline", ""),
        settings=settings,
        runs=tuple(_seed_run(run, folders[run.run_id], ids, classes) for run in runs),
    )


def _seed_run(run: KnownRun, folder: Path, ids: tuple[str, ...], classes: tuple[str, ...]) -> SeedRun:
    said, history = read_predictions(folder / "predictions.csv"), read_history(folder)
    if said is None or not history:
        raise UserError(f"predictions.csv or history.csv of run {run.tags.get('plan_run', run.run_id)} can't be read")
    place = {image: number for number, image in enumerate(said.images)}
    if place.keys() != {*ids} or said.classes != classes:
        raise UserError(
            f"run {run.tags.get('plan_run', run.run_id)} was judged on other examples than the others: they can't be"
            " compared"
        )
    cuts = run.tags.get("rates_cut_after", "")
    return SeedRun(
        name=run.tags.get("plan_run", run.run_id),
        run_id=run.run_id,
        seed=int(run.tags["seed"]),
        best_epoch=round(run.metrics["best_epoch"]),
        history=history,
        cuts=tuple(map(int, cuts.split(","))) if cuts else (),
        seconds=run.seconds or float("nan"),
        ended=run.tags.get("ended", ""),
        predicted=said.predicted[[place[image] for image in ids]],
        metrics=run.metrics,
    )


def _shaping() -> list[str]:
    return [name for name, field in fields().items() if note(field, "identity") or name == "weights"]


def _shown(value: Any) -> str:  # noqa: ANN401 - a setting's plain value
    text = as_text(tuple(value) if isinstance(value, list) else value)
    return Path(text).name if "/" in text else text


def _digests(campaign: KnownRun) -> tuple[str | None, str | None]:
    return campaign.tags.get("data_digest"), campaign.tags.get("split_digest")


def _name(campaign: KnownRun) -> str:
    return campaign.tags.get("campaign", campaign.run_id)
