"""The Optuna study of a sweep: created or loaded by name, its sampler and its pruner."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from flowerml.data.rng import derive_seed
from flowerml.errors import UserError
from flowerml.sweep.space import Choice, Dimension, Range
from flowerml.sweep.storage import DATABASE_ERRORS, open_storage, redact_password, unreachable_error
from flowerml.sweep.trials import original_number

PrunerName = Literal["median", "hyperband", "none"]
_IDENTITY = "flowerml.about"  # a study of the same name with another identity is refused


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
) -> optuna.Study:
    """Create or load the study `name` of a database. `heartbeat_s`: as `open_storage` takes it.

    Raises:
        UserError: the database is unreachable, or its study of this name is of other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    database = open_storage(storage, heartbeat_s)
    try:
        study = optuna.create_study(
            storage=database,
            study_name=name,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
            pruner=_make_pruner(pruner, epochs),
            sampler=PerTrialTPESampler(seed),
        )
        before = study.user_attrs.get(_IDENTITY)
        if before is None:
            study.set_user_attr(_IDENTITY, dict(identity))
    except DATABASE_ERRORS as error:
        raise unreachable_error(storage, error) from error
    if before is not None and before != dict(identity):
        differs = [
            f"{key} {before.get(key)} there, {value} here"
            for key, value in identity.items()
            if before.get(key) != value
        ]
        raise UserError(
            f"study {name!r} in {redact_password(storage)} is of other settings ({'; '.join(differs)[:300]}): choose"
            " another --study"
        )
    return study


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
