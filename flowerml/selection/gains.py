"""What each configuration of an ablation gains over its base, paired by picture and by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowerml.selection.candidates import Configuration
from flowerml.selection.intervals import RESAMPLES, Interval, Over, bootstrap_intervals, interval_over_seeds
from flowerml.selection.rank import Standing, require_value
from flowerml.translation import ENGLISH, N_, Translation

GAIN_COLUMNS = (N_("configuration"), N_("mean"), N_("gain"), N_("95 % interval"), N_("shown"))
GAIN_NOTE = N_(
    "Validation accuracy minus the base's, mean over the seeds, paired by picture and by seed. Of twenty configurations"
    " without an effect, one is shown all the same."
)


@dataclass(frozen=True)
class Gain:
    """A configuration's mean accuracy (0..1) and how far it lies above the base's (-1..1).

    `interval` is the 95 % interval of that difference: of a bootstrap over pictures and seeds or, without per-picture
    results, over seeds alone; None where neither can be computed.
    """

    configuration: Configuration
    accuracy: float
    difference: float
    interval: Interval | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out zero. A few seeds alone show nothing: pictures are common to all of them."""
        found = self.interval
        return found is not None and found.over is not Over.SEEDS and (found.low > 0 or found.high < 0)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "config_id": self.configuration.config_id,
            "accuracy": self.accuracy,
            "gain": self.difference,
            "interval_95": self.interval.as_json() if self.interval else None,
            "shown": self.is_shown,
        }


def gains_over_base(
    standings: Sequence[Standing], base_order: int, right: Mapping[str, np.ndarray], resamples: int = RESAMPLES
) -> tuple[Gain, ...]:
    """The gain of every other configuration over the one whose first run has that place in the plan, in its order.

    `right` are hits by config_id, (seeds, pictures) bool, as `picture_matrices` makes them. Empty where the base itself
    can't be ranked.
    """
    by_order = sorted(standings, key=lambda standing: standing.configuration.plan_order)
    base = next((one for one in by_order if one.configuration.plan_order == base_order), None)
    if base is None:
        return ()
    return tuple(_gain(one, base, right, resamples) for one in by_order if one is not base)


def _gain(standing: Standing, base: Standing, right: Mapping[str, np.ndarray], resamples: int) -> Gain:
    names = standing.configuration.config_id, base.configuration.config_id
    if all(name in right for name in names):
        interval = bootstrap_intervals({name: right[name] for name in names}, names, resamples).difference
    else:
        of_base = {run.place: require_value(run.accuracy) for run in base.configuration.runs}
        differences = [require_value(run.accuracy) - of_base[run.place] for run in standing.configuration.runs]
        interval = interval_over_seeds(differences, floor=-1.0)
    mean = standing.accuracy.mean
    return Gain(standing.configuration, mean, mean - base.accuracy.mean, interval)


def gain_cells(name: str, gain: Gain, texts: Translation = ENGLISH) -> tuple[str, ...]:
    """One gain in the order of `GAIN_COLUMNS`, as text; accuracies with four digits."""
    interval = gain.interval
    limits = ""
    if interval is not None:
        limits = texts.gettext("{low:+.4f} to {high:+.4f}", low=interval.low, high=interval.high)
        limits += texts.gettext(" (seeds alone)") if interval.over is Over.SEEDS else ""
    shown = texts.gettext("yes") if gain.is_shown else texts.gettext("no")
    return name, f"{gain.accuracy:.4f}", f"{gain.difference:+.4f}", limits, shown
