"""The Optuna study behind a sweep: opened or gone on with by name, its trials with a sign of life, dead ones tried again a few times."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from flowerml.data.keyed import seed_of
from flowerml.errors import UserError
from flowerml.sweep.space import Choice, Dimension, Range

Pruner = Literal["median", "hyperband", "none"]
PRUNERS: tuple[Pruner, ...] = ("median", "hyperband", "none")
RETRIES = 2  # of one trial, after the process that ran it has died
_ABOUT = "flowerml.about"  # what the study is of: another one of the same name is not gone on with
_QUEUED = "fixed_params"  # Optuna's own mark
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def open_study(
    storage: str,
    name: str,
    about: Mapping[str, Any],
    *,
    maximize: bool,
    pruner: Pruner,
    epochs: int,
    seed: int,
    worker: int = 0,
    beat: int = 10,
) -> optuna.Study:
    """The study `name` of a database, made where it is not there yet. `beat`: seconds between two signs of life of a trial; after three
    without one it counts as dead. What is drawn hangs on `seed`, the number of the `worker`, and how many trials have begun.

    Raises:
        UserError: the database can't be had, or its study of this name is of other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        kept = RDBStorage(
            storage,
            engine_kwargs={"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {},
            heartbeat_interval=beat,
            grace_period=3 * beat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )
        study = optuna.create_study(
            storage=kept,
            study_name=name,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
            pruner=_pruner(pruner, epochs),
        )
        # Workers that draw with one seed would draw the same points, and so would one that is started again.
        begun = sum(trial.state is not TrialState.WAITING for trial in study.get_trials(deepcopy=False))
        drawn = seed_of(seed, "sweep", worker, begun) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=drawn, multivariate=True, constant_liar=True)
        before = study.user_attrs.get(_ABOUT)
        if before is None:
            study.set_user_attr(_ABOUT, dict(about))
    except (ArgumentError, ModuleNotFoundError, ImportError, ValueError) as error:
        raise UserError(f"--storage {_named(storage)}: {_line(error)}. Allowed: sqlite:///FILE.db, postgresql+psycopg2://…") from error
    except SQLAlchemyError as error:
        raise UserError(f"--storage {_named(storage)} can't be had ({_line(error)}): start it, or name another one") from error
    if before is not None and before != dict(about):
        differs = [f"{key} {before.get(key)} there, {value} here" for key, value in about.items() if before.get(key) != value]
        raise UserError(f"study {name!r} in {_named(storage)} is of other settings ({'; '.join(differs)[:300]}): choose another --study")
    return study


def suggest(trial: optuna.Trial, dimensions: Mapping[str, Dimension]) -> dict[str, Any]:
    """A value of each dimension."""
    chosen: dict[str, Any] = {}
    for name, dimension in dimensions.items():
        match dimension:
            case Range(low, high, log):
                chosen[name] = float(f"{trial.suggest_float(name, low, high, log=log):.6g}")
            case Choice(values):
                chosen[name] = trial.suggest_categorical(name, list(values))
    return chosen


def queue(study: optuna.Study, trials: int, points: list[dict[str, Any]] | None) -> int:
    """Queue what is missing to `trials` trials: of the grid's `points` those that the study does not have yet, in their order, so that
    each is evaluated once; without points, trials whose settings the sampler will choose. Returns how many.
    """
    there = study.get_trials(deepcopy=False)
    missing = trials - len({original(trial) for trial in there if was_queued(trial)})
    if points is None:
        fresh: list[dict[str, Any]] = [{} for _ in range(missing)]
    else:
        known = {_key(trial.system_attrs[_QUEUED]) for trial in there if was_queued(trial)}
        fresh = [point for point in points if _key(point) not in known][: max(0, missing)]
    for point in fresh:
        study.enqueue_trial(point)
    return len(fresh)


def was_queued(trial: FrozenTrial) -> bool:
    """Whether a trial comes from the queue. Two workers that reach for the last one make one too many, which is not run."""
    return _QUEUED in trial.system_attrs


def original(trial: FrozenTrial) -> int:
    """The number of the trial that this one tries again, else its own: both are one run, in one folder."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def open_ends(study: optuna.Study) -> tuple[int, int]:
    """How many trials are queued, and how many somebody works on, or died of without having been noticed yet."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return states.count(TrialState.WAITING), states.count(TrialState.RUNNING)


def last_tries(study: optuna.Study) -> list[FrozenTrial]:
    """The last try of each trial, in the order of the trials."""
    newest = {original(trial): trial for trial in study.get_trials(deepcopy=False) if was_queued(trial)}
    return [newest[number] for number in sorted(newest)]


def _pruner(name: Pruner, epochs: int) -> BasePruner:
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 4))
    return HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs) if name == "hyperband" else NopPruner()


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))


def _named(storage: str) -> str:
    """The address without its password."""
    head, sign, rest = storage.partition("://")
    return f"{head}{sign}{'***@' + rest.split('@', 1)[1] if '@' in rest else rest}"


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
