"""`flowerml sweep`: hyperparameter search for one model; every trial is a run of its own."""

import argparse
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerml.cli.arguments import parse_int
from flowerml.data.sources.forms import has_pictures_at
from flowerml.errors import UserError
from flowerml.forkserver.client import ForkClient
from flowerml.progress_bar import status
from flowerml.settings import Family, Settings, find_model, grid, resolve
from flowerml.settings.errors import flag_name
from flowerml.settings.flags import CommandParser, add_settings
from flowerml.settings.serialization import as_text
from flowerml.sweep.workers import RUN_TRIALS

if TYPE_CHECKING:
    from flowerml.sweep.config import SweepConfig

logger = logging.getLogger(__name__)

# Settings that may differ between two commands that work on the same study.
_PER_COMMAND = ("workers", "device", "runs_root", "experiment")
_SWEEP = ("trials", "space", "pruner", "storage", "workers", "study", "confirm", "heartbeat_seconds", "json")
# Settings that cannot be the same for all trials.
_PER_TRIAL = ("folds", "fold", "output_dir", "run_name", "overwrite", "resume", "workers", "stop_epoch")
_INTEGERS = {
    "trials": (1, 100_000),
    "workers": (1, 256),
    "confirm": (0, 1000),
    "heartbeat_seconds": (1, 3600),
    "data_workers": (0, 256),
}


def run(argv: Sequence[str] | None) -> int:
    """Parse, search, confirm, draw, record. Raises UserError; RunFailed where no trial was completed."""
    args, given = _parse(argv)
    settings, warnings = resolve(given)
    for line in warnings:
        logger.warning(line)
    family = find_model(settings.model).family
    _check_sweep_flags(args, settings)

    fork_client = ForkClient(RUN_TRIALS)  # first: the fork server imports beside this process
    with status("loading PyTorch, MLflow and Optuna"):
        from flowerml.cli.select_table import print_decision
        from flowerml.sweep.service import SearchOptions, run_sweep
        from flowerml.tracking import default_experiment, where_to_look

    with closing(fork_client):
        points = _grid_queue(args, settings, family, given)
        config = _sweep_config(args, settings, given, family)
        experiment = settings.experiment or default_experiment() or "flowers"
        options = SearchOptions(args.trials, family, points, args.workers, args.confirm, experiment)
        done = run_sweep(config, options, fork_client)
    if done.decision is not None and not args.json:
        print_decision(done.decision)
    number, best = done.swept.best, done.swept.best_trial
    logger.info(
        f"\nbest: trial {number}, {config.monitor} {best.value:.4f}; run {done.run_id} has the table and the figures:"
        f" {where_to_look(done.run_id)}"
    )
    if args.json:
        notes = {name: best.user_attrs.get(name) for name in ("run_id", "folder")}
        found = {"trial": number, "value": best.value, "params": done.swept.chosen_settings(number), **notes}
        decision = done.decision.as_json() if done.decision else None
        print(json.dumps({"run_id": done.run_id, "study": config.study, "best": found, "decision": decision}))
    return 0


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml sweep",
        description=(
            "Search for good settings of one model. A setting that is given is fixed for all trials; the others of its"
            " family's grid are chosen. The same command goes on with its study, also beside this one and on other"
            " hosts."
        ),
    )
    own = parser.add_argument_group("sweep")
    own.add_argument(
        "--trials", default="20", metavar="INT", help="how many trials the study is to have in all; default: 20"
    )
    about = "grid: the family's points, each once, in a seeded order; tpe: ranges around the grid; default: tpe"
    own.add_argument("--space", default="tpe", choices=("grid", "tpe"), help=about)
    about = "end trials that fall behind, epoch by epoch; default: median"
    own.add_argument("--pruner", default="median", choices=("median", "hyperband", "none"), help=about)
    about = "the study's database, sqlite:///FILE.db or postgresql+psycopg2://…; default: sweeps.db in the runs root"
    own.add_argument("--storage", metavar="URL", help=about)
    own.add_argument("--workers", default="1", metavar="INT", help="trials at a time; default: 1")
    own.add_argument(
        "--study", metavar="TEXT", help="name of the study; default: from the model and the settings given"
    )
    about = "train the N best on the seeds 23 and 47 too, and rank them as a selection does; default: 0"
    own.add_argument("--confirm", default="0", metavar="N", help=about)
    about = "a trial that gives no sign of life for three times so long is tried again, at most twice; default: 10"
    own.add_argument("--heartbeat-seconds", default="10", metavar="INT", help=about)
    own.add_argument(
        "--data-workers", metavar="INT", help="processes that load pictures, for each trial; default: by cores"
    )
    own.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    add_settings(parser, without=_PER_TRIAL)
    return parser


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The sweep's own flags, and the settings that are given for all trials."""
    args = make_parser().parse(argv)
    for name, (low, high) in _INTEGERS.items():
        text = getattr(args, name)
        if text is not None:
            setattr(args, name, parse_int(flag_name(name), text, low, high))
    given = {name: value for name, value in vars(args).items() if name not in (*_SWEEP, "data_workers")}
    if args.data_workers is not None:
        given["workers"] = args.data_workers
    return args, given


def _check_sweep_flags(args: argparse.Namespace, settings: Settings) -> None:
    """Refuse settings that a sweep cannot use. Raises UserError."""
    if settings.val_split == 0:
        raise UserError("--val-split 0 leaves nothing to compare trials by: hold some pictures out")
    if args.study is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", args.study):
        raise UserError(f"--study is {args.study!r}. Allowed: up to 100 letters, digits, dots, hyphens and underscores")
    if not has_pictures_at(settings.train_dir):
        raise UserError(f"--train-dir {settings.train_dir}: no such folder")


def _grid_queue(
    args: argparse.Namespace, settings: Settings, family: Family, given: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
    """The grid points in order; None for another space. Raises UserError if there are fewer than trials."""
    if args.space != "grid":
        return None
    from flowerml.sweep.space import shuffled_grid

    found = shuffled_grid(family, given, settings.seed, probe=settings.probe)
    if args.trials > len(found):
        raise UserError(
            f"--trials {args.trials}: the grid has {len(found)} points with what is given: ask for at most so many, or"
            " --space tpe"
        )
    return found


def _sweep_config(
    args: argparse.Namespace, settings: Settings, given: Mapping[str, Any], family: Family
) -> "SweepConfig":
    from flowerml.sweep.config import SweepConfig
    from flowerml.sweep.space import check_dimensions, describe_space, grid_dimensions, range_dimensions

    find_dimensions = grid_dimensions if args.space == "grid" else range_dimensions
    dimensions = find_dimensions(family, given, probe=settings.probe)
    if not dimensions and not grid(family):
        raise UserError(
            f"models of family {family} have no grid to search: compare settings in a plan of your own (flowerml"
            " campaign)"
        )
    if not dimensions:
        raise UserError("every setting of the grid is given: nothing is left to choose. Leave one out")
    check_dimensions(given, dimensions)
    fixed = {name: as_text(getattr(settings, name)) for name in sorted(given) if name not in _PER_COMMAND}
    identity = {
        "model": settings.model,
        "space": " | ".join(line.strip() for line in describe_space(dimensions)),
        "given": json.dumps(fixed),
    }
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    study = args.study or f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', settings.model)}-{digest[:8]}"
    root = Path(settings.runs_root)
    return SweepConfig(
        storage=args.storage or f"sqlite:///{root / 'sweeps.db'}",
        study=study,
        identity=identity,
        maximize=settings.monitor != "val_loss",
        pruner=args.pruner,
        epochs=settings.epochs,
        seed=settings.seed,
        heartbeat_s=args.heartbeat_seconds,
        fixed=given,
        dimensions=dimensions,
        folder=root / study,
        monitor=settings.monitor,
    )
