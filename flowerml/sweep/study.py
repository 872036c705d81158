"""The Optuna study behind a sweep: opened or gone on with by name, what it draws, when it ends a trial early."""

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
from flowerml.sweep.storage import TROUBLE, away, named, open_storage
from flowerml.sweep.trials import original

Pruner = Literal["median", "hyperband", "none"]
_ABOUT = "flowerml.about"  # what the study is of: another one of the same name is not gone on with


def open_study(
    storage: str,
    name: str,
    about: Mapping[str, Any],
    *,
    maximize: bool,
    pruner: Pruner,
    epochs: int,
    seed: int,
    beat: int = 10,
) -> optuna.Study:
    """The study `name` of a database, made where it is not there yet. `beat`: as `open_storage` takes it.

    Raises:
        UserError: the database can't be had, or its study of this name is of other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    kept = open_storage(storage, beat)
    try:
        study = optuna.create_study(
            storage=kept,
            study_name=name,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
            pruner=_pruner(pruner, epochs),
            sampler=ByNumber(seed),
        )
        before = study.user_attrs.get(_ABOUT)
        if before is None:
            study.set_user_attr(_ABOUT, dict(about))
    except TROUBLE as error:
        raise away(storage, error) from error
    if before is not None and before != dict(about):
        differs = [
            f"{key} {before.get(key)} there, {value} here" for key, value in about.items() if before.get(key) != value
        ]
        raise UserError(
            f"study {name!r} in {named(storage)} is of other settings ({'; '.join(differs)[:300]}): choose another"
            " --study"
        )
    return study


def suggest(trial: optuna.Trial, dimensions: Mapping[str, Dimension]) -> dict[str, Any]:
    """A value of each dimension."""
    chosen: dict[str, Any] = {}
    for name, dimension in dimensions.items():
        match dimension:
            case Range(low, high, log):
                chosen[name] = as_run(trial.suggest_float(name, low, high, log=log))
            case Choice(values):
                chosen[name] = trial.suggest_categorical(name, list(values))
    return chosen


def as_run(value: Any) -> Any:  # noqa: ANN401 - a setting's value
    """A value that was drawn, as it runs: numbers with six digits, so that they can be read, and typed again."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


class ByNumber(BaseSampler):
    """TPE (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; all settings together, trials under way
    counted as bad), seeded anew for each trial by its number.

    So no two workers draw alike, wherever they run and however often they are started, and what a trial draws hangs on
    the seed, its number, and the trials that have ended before it.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._own: BaseSampler = TPESampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As Optuna's."""
        drawn = derive_seed(self._seed, "sweep", original(trial)) % 2**32
        self._own = TPESampler(seed=drawn, multivariate=True, constant_liar=True)
        self._own.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As Optuna's."""
        return self._own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's."""
        return self._own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - a setting's value
        """As Optuna's."""
        return self._own.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna's."""
        self._own.after_trial(study, trial, state, values)


def _pruner(name: Pruner, epochs: int) -> BasePruner:
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 4))
    return (
        HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs) if name == "hyperband" else NopPruner()
    )
