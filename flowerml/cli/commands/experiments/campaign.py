"""`flowerml campaign`: run a plan from its smoke tests to the delivered models; resumable by the same command."""

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerml.campaign.plan.parser import read_plan, shipped_plans
from flowerml.campaign.status import RunStatus
from flowerml.cli.arguments import parse_int
from flowerml.cli.deadline import parse_deadline
from flowerml.data.sources.forms import has_pictures_at
from flowerml.errors import UserError
from flowerml.progress_bar import status
from flowerml.redaction import redact_secrets
from flowerml.settings.families.recipes import resolve_setting
from flowerml.settings.flags import CommandParser
from flowerml.translation import LANGUAGES

if TYPE_CHECKING:
    from flowerml.campaign.engine.deadline import Deadline
    from flowerml.campaign.execution.local_executor import Executor
    from flowerml.campaign.plan.model import Plan
    from flowerml.campaign.report.snapshot import CampaignSnapshot

logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None) -> int:
    """Parse, check, run. Raises UserError; RunFailed if a campaign that had begun cannot continue."""
    args = make_parser().parse(argv)
    plan = read_plan(args.plan, tuple(args.set))
    for line in plan.warnings:
        logger.warning(line)
    parallel = parse_int("--parallel", args.parallel, 1, 256)
    gpus_per_run = parse_int("--gpus-per-run", args.gpus_per_run, 1, 64)
    _check_campaign_flags(args)
    ends = parse_deadline(args.deadline, datetime.now().astimezone()) if args.deadline is not None else None
    if args.check:
        return _print_schedule(plan, args, parallel, ends)

    if not has_pictures_at(args.train_dir):
        raise UserError(
            f"--train-dir {args.train_dir}: no such folder. Name one with a sub-folder of pictures per class, or of"
            " annotated pictures"
        )

    deadline = _make_deadline(plan, args.train_dir, ends, parallel) if ends is not None else None
    executor = _make_executor(args, parallel, gpus_per_run)  # first: its fork server imports beside this process
    with status("loading PyTorch and MLflow"):
        from flowerml.campaign.engine.context import CampaignOptions
        from flowerml.campaign.service import run_campaign
        from flowerml.tracking import default_experiment, ignore_foreign_env_run, where_to_look

    ignore_foreign_env_run()
    options = CampaignOptions(
        train_dir=args.train_dir,
        runs_root=Path(args.runs_root),
        output_dir=Path(args.output_dir),
        experiment=args.experiment or default_experiment(),
        name=args.name,
        retry=args.retry,
        language=args.lang,
        deadline=deadline,
        command=("flowerml", "campaign", *map(redact_secrets, sys.argv[1:] if argv is None else argv)),
    )
    finished = run_campaign(plan, options, executor, parallel=parallel)
    logger.info(
        f"\ncampaign {finished.id} is FINISHED: {options.runs_root / finished.id / 'report.html'} tells of it, also in"
        f" MLflow: {where_to_look(finished.run_id)}"
    )
    if skipped := [run.name for run in finished.runs if run.status is RunStatus.SKIPPED and run.reason]:
        logger.info(
            f"skipped for the deadline: {', '.join(skipped)}. The same command with a later --deadline, or without,"
            " runs them"
        )
    for one in finished.delivered:
        logger.info(f"{one.path}: {one.registered_model}, version {one.version}. {one.alias_note}")
    if args.json:
        print(json.dumps(_campaign_json(finished, options.runs_root / finished.id)))
    return 0


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml campaign",
        description=("Run a plan. The same command, started again after any interruption, resumes it."),
    )
    parser.add_argument("--plan", required=True, metavar="TEXT", help=f"{', '.join(shipped_plans())}, or a YAML file")
    parser.add_argument(
        "--train-dir",
        default="data/train",
        metavar="PATH",
        help="one sub-folder of pictures per class, or annotated pictures; default: data/train",
    )
    about = "run with this instead: NAME=VALUE for all runs, NAME.cnn=VALUE for a family's; as often as wanted"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=about)
    parser.add_argument("--check", action="store_true", help="print the whole schedule and run nothing")
    parser.add_argument(
        "--probe", action="store_true", help="with --check: time a few steps of each model, and estimate the whole"
    )
    parser.add_argument(
        "--runs-root", default="runs", metavar="PATH", help="folder of the runs, each under its name; default: runs"
    )
    parser.add_argument(
        "--output-dir", default=".", metavar="PATH", help="where the weights are delivered; default: here"
    )
    parser.add_argument(
        "--name", metavar="TEXT", help="tells a repetition of the same plan on the same pictures from the first one"
    )
    parser.add_argument(
        "--experiment", metavar="TEXT", help="MLflow experiment; default: MLFLOW_EXPERIMENT_NAME, or the task's own"
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="language of the report and of the tables; default: en"
    )
    parser.add_argument(
        "--deadline",
        metavar="TIME",
        help="skip runs that do not fit before it, in the plan's order, so that the champions are there by then: HH:MM,"
        " a date with a time, or a duration such as 8h",
    )
    parser.add_argument("--retry", action="store_true", help="try again what has failed for good")
    work = parser.add_argument_group("executor")
    work.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster; default: local"
    )
    about = "runs of a phase at a time; on this machine GPUs, or cores, are shared out among them; default: 1"
    work.add_argument("--parallel", default="1", metavar="INT", help=about)
    about = "processes of a run, each on a GPU of its own with its share of every batch; default: 1"
    work.add_argument("--gpus-per-run", default="1", metavar="INT", help=about)
    work.add_argument(
        "--ray-address",
        metavar="TEXT",
        help="with --executor ray: address of its head, HOST:PORT or auto; default: auto",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def _check_campaign_flags(args: argparse.Namespace) -> None:
    """Refuse invalid flags and combinations. Raises UserError."""
    if args.probe and not args.check:
        raise UserError("--probe estimates what --check prints: give both")
    if args.deadline is not None and args.check and not args.probe:
        raise UserError(
            "--check says what fits before a --deadline only with --probe, which times the runs: give it too"
        )
    if args.ray_address and args.executor != "ray":
        raise UserError("--ray-address is that of a Ray cluster: give it with --executor ray")
    for name in ("train_dir", "runs_root", "experiment"):  # of all runs: refused here, not by the first run
        resolve_setting(name, getattr(args, name))
    if args.name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", args.name):
        raise UserError(f"--name is {args.name!r}. Allowed: up to 40 letters, digits, dots, hyphens and underscores")


def _make_executor(args: argparse.Namespace, parallel: int, gpus_per_run: int) -> "Executor":
    """This machine, or the given Ray cluster. Raises UserError without Ray or a cluster, or with too few GPUs."""
    if args.executor != "ray":
        from flowerml.campaign.execution.local_executor import LocalExecutor

        return LocalExecutor(parallel, gpus_per_run)
    if find_spec("ray") is None:
        raise UserError("--executor ray needs Ray, which is not installed: pip install 'flowerml[ray]'")
    from flowerml.campaign.execution.ray_executor import RayExecutor

    return RayExecutor(parallel, args.ray_address or "auto", gpus_per_run)


def _make_deadline(plan: "Plan", train_dir: str, ends: datetime, parallel: int) -> "Deadline":
    """The deadline, with the durations of the plan's runs as the probe estimates them. Raises UserError as that."""
    from flowerml.campaign.engine.deadline import Deadline
    from flowerml.campaign.engine.probe import estimate_durations

    logger.info(f"deadline: {ends:%Y-%m-%d %H:%M}; timing a few steps of each model")
    return Deadline(ends.timestamp(), estimate_durations(plan, train_dir), parallel)


def _print_schedule(plan: "Plan", args: argparse.Namespace, parallel: int, ends: datetime | None) -> int:
    from flowerml.campaign.plan.dry_run import as_json, as_lines

    seconds = None
    if args.probe:
        from flowerml.campaign.engine.probe import estimate_durations

        seconds = estimate_durations(plan, args.train_dir)
    unfit: Collection[str] = ()
    if ends is not None and seconds is not None:
        from flowerml.campaign.state.deadline import runs_that_do_not_fit

        unfit = runs_that_do_not_fit(plan, {}, seconds, ends.timestamp() - time.time(), parallel)
    if args.json:
        print(json.dumps(as_json(plan, seconds, unfit)))
    else:
        print("\n".join(as_lines(plan, seconds, unfit)))
    return 0


def _campaign_json(campaign: "CampaignSnapshot", folder: Path) -> dict[str, Any]:
    return {
        "campaign": campaign.id,
        "run_id": campaign.run_id,
        "folder": str(folder),
        "plan_digest": campaign.plan_digest,
        "data_digest": campaign.data_digest,
        "split_digest": campaign.split_digest,
        "chosen": {phase.name: list(phase.decision.chosen) for phase in campaign.phases if phase.decision},
        "runs": {
            run.name: {
                "status": run.status.value,
                "run_id": run.run_id,
                "config_id": run.config_id,
                "seed": run.seed,
                "accuracy": run.accuracy,
                "macro_f1": run.macro_f1,
                "best_epoch": run.best_epoch,
                "checkpoint": run.checkpoint,
                "seconds": run.seconds,
                "reason": run.reason,
            }
            for run in campaign.runs
        },
        "delivered": {
            one.family: {
                "file": str(one.path),
                "sha256": one.sha256,
                "registered_model": one.registered_model,
                "version": one.version,
            }
            for one in campaign.delivered
        },
    }
