"""The Optuna study of a sweep: created or loaded by name, its sampler and its pruner."""

import time
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    check_distribution_compatibility,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from flowerml.data.rng import derive_seed
from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.sweep.space import Choice, Dimension, Range
from flowerml.sweep.storage import DATABASE_ERRORS, open_storage, unreachable_error
from flowerml.sweep.trials import original_number

PrunerName = Literal["median", "hyperband", "none"]
_IDENTITY = "flowerml.about"  # our mark; a study of the same name without it, or with another identity, is refused
_MARK_WAIT_S = 30.0  # for the command that has just created the study to mark it, on a busy machine


def open_study(
    storage: str,
    name: str,
    identity: Mapping[str, Any],
    *,
    maximize: bool,
    pruner: PrunerName,
    epochs: int,
    seed: int,
    heartbeat_s: int = 10,
    dimensions: Mapping[str, Dimension] = MappingProxyType({}),
) -> optuna.Study:
    """Create or load the study `name` of a database.

    `heartbeat_s`: as `open_storage` takes it; `dimensions`: what trials that are there already must agree with.

    Raises:
        UserError: the database is unreachable or another program's, or its study of this name is somebody else's or of
            other settings; nothing was written into it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    database = open_storage(storage, heartbeat_s)
    direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
    where = f"study {name!r} in {redact_secrets(storage, storage)}"
    try:
        try:
            study = optuna.load_study(study_name=name, storage=database)
        except KeyError:
            study = _create_study(name, database, direction, identity)
        study.pruner, study.sampler = _make_pruner(pruner, epochs), PerTrialTPESampler(seed)
        existing = _wait_for_mark(study)
        if existing is None:
            raise UserError(
                f"{where} is not flowerml's, and is left as it is ({len(study.get_trials(deepcopy=False))} trials):"
                " choose another --study"
            )
        directions, trials = study.directions, study.get_trials(deepcopy=False)
    except DATABASE_ERRORS as error:
        raise unreachable_error(storage, error) from error
    differs = [
        f"{key} {existing.get(key)} there, {value} here"
        for key, value in identity.items()
        if existing.get(key) != value
    ]
    if directions != [direction]:
        differs.append(f"direction {directions[0].name.lower()} there, {direction.name.lower()} here")
    differs += _other_ranges(trials, dimensions)
    if differs:
        raise UserError(f"{where} is of other settings ({'; '.join(differs)[:300]}): choose another --study")
    return study


def _create_study(
    name: str, database: BaseStorage, direction: StudyDirection, identity: Mapping[str, Any]
) -> optuna.Study:
    """Create and mark a study; the one of another command that has created it meanwhile is loaded."""
    try:
        study = optuna.create_study(study_name=name, storage=database, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=database)
    study.set_user_attr(_IDENTITY, dict(identity))
    return study


def _wait_for_mark(study: optuna.Study) -> Mapping[str, Any] | None:
    """The identity in the study's mark; None for somebody else's.

    Optuna can't create a study with its mark at once: one that is as good as new may get it in a moment.
    """
    deadline = time.monotonic() + _MARK_WAIT_S
    while True:
        mark = study.user_attrs.get(_IDENTITY)
        if isinstance(mark, Mapping):
            return mark
        if mark is not None or study.user_attrs or study.get_trials(deepcopy=False) or time.monotonic() > deadline:
            return None
        time.sleep(0.1)


def _other_ranges(trials: Sequence[FrozenTrial], dimensions: Mapping[str, Dimension]) -> list[str]:
    """How trials that are in the study already contradict the search space; Optuna can't mix the two."""
    wanted = {name: _distribution(dimension) for name, dimension in dimensions.items()}
    for trial in trials:
        for name, found in trial.distributions.items():
            try:
                if name in wanted:
                    check_distribution_compatibility(found, wanted[name])
            except ValueError:
                return [f"{name} of trial {trial.number} is {found}, {wanted[name]} here"]
    return []


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Range(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Choice(values):
            return CategoricalDistribution(list(values))


def suggest(trial: optuna.Trial, dimensions: Mapping[str, Dimension]) -> dict[str, Any]:
    """A value for each dimension."""
    chosen: dict[str, Any] = {}
    for name, dimension in dimensions.items():
        match dimension:
            case Range(low, high, log):
                chosen[name] = round_value(trial.suggest_float(name, low, high, log=log))
            case Choice(values):
                chosen[name] = trial.suggest_categorical(name, list(values))
    return chosen


def round_value(value: Any) -> Any:  # noqa: ANN401 - a setting's value
    """A sampled value as it runs: floats with six digits, so that they can be read and typed again."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


class PerTrialTPESampler(BaseSampler):
    """TPE (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; all settings together, trials under way
    counted as bad), seeded anew for each trial by its number.

    So no two workers draw alike, and what a trial draws depends on the seed, its number, and the trials that ended
    before it, not on which worker runs it.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler: BaseSampler = TPESampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As Optuna's."""
        seed = derive_seed(self._seed, "sweep", original_number(trial)) % 2**32
        self._sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As Optuna's."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - a setting's value
        """As Optuna's."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna's."""
        self._sampler.after_trial(study, trial, state, values)


def _make_pruner(name: PrunerName, epochs: int) -> BasePruner:
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 4))
    return (
        HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs) if name == "hyperband" else NopPruner()
    )
