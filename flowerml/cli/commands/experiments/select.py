"""`flowerml select`: rank the configurations of a family, with intervals, and register the champion."""

import argparse
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowerml.errors import RunFailed, UserError
from flowerml.progress_bar import status
from flowerml.settings.flags import CommandParser
from flowerml.translation import LANGUAGES, translation

if TYPE_CHECKING:
    from flowerml.events import Recorder
    from flowerml.runs.select import Register, SelectionResult
    from flowerml.selection.decision import Decision
    from flowerml.selection.records import Scope

logger = logging.getLogger(__name__)

FAMILIES = ("cnn", "vit", "relation")
SEEDS = "11,23,47"
RULES = ("val_accuracy", "val_mean_recall")


def run(argv: Sequence[str] | None) -> int:
    """Parse, choose, record, register, print. Raises UserError; RunFailed if nothing was eligible or registrable."""
    args = make_parser().parse(argv)
    scope = _parse_scope(args)
    _check_select_flags(args)

    with status("loading MLflow"):
        from flowerml.cli.select_table import print_decision
        from flowerml.runs.select import record_decision, select_configuration
        from flowerml.tracking import TrackedRuns, where_to_look

    register = _registrar(args)
    decision = select_configuration(scope, TrackedRuns())
    if not args.json:
        print_decision(decision, translation(args.lang))
    try:
        selected = record_decision(decision, _run_opener(args), register)
    except RunFailed:
        if args.json:
            print(_selection_json(decision, None))
        raise
    if args.json:
        print(_selection_json(decision, selected))
    if selected.run_id is not None:
        logger.info(
            f"run {selected.run_id} has the table, the figure and the decision: {where_to_look(selected.run_id)}"
        )
    if selected.registered is not None:
        logger.info(selected.registered)
    return 0


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml select",
        description=(
            "Rank the finished runs of a family by their mean validation accuracy (or mean recall) over seeds, and say"
            " how sure the choice is."
        ),
    )
    parser.add_argument("--family", required=True, choices=FAMILIES, help="whose runs are compared")
    parser.add_argument(
        "--seeds", metavar="N,N,...", default=SEEDS, help=f"seeds that each configuration must have; default: {SEEDS}"
    )
    parser.add_argument("--by", choices=RULES, default=RULES[0], help=f"what they are ranked by; default: {RULES[0]}")
    parser.add_argument("--campaign", metavar="TEXT", help="only this campaign's runs")
    parser.add_argument("--phase", metavar="A,B,...", help="only runs of these phases of a campaign")
    parser.add_argument("--data-digest", metavar="HEX", help="only runs on this data; its first characters are enough")
    parser.add_argument(
        "--split-digest", metavar="HEX", help="only runs on this split; its first characters are enough"
    )
    parser.add_argument("--include", choices=("trial",), help="rank a sweep's trials too; default: trainings only")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the decision as JSON on stdout")
    output.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="language of the printed table and decision; default: en"
    )
    output.add_argument(
        "--experiment",
        metavar="TEXT",
        help="MLflow experiment of the selection's own run; default: MLFLOW_EXPERIMENT_NAME, or flowers, or relations",
    )
    output.add_argument("--no-record", action="store_true", help="only print: leave no run in MLflow")
    registry = parser.add_argument_group("registry")
    about = "make the winner's best seed a registered version, and champion if it is better; default: false"
    registry.add_argument("--register", nargs="?", const="true", default="false", choices=("true", "false"), help=about)
    registry.add_argument("--no-register", dest="register", action="store_const", const="false", help=argparse.SUPPRESS)
    final = (
        "with --register: id of the final run of the winner (--val-split 0), whose weights are registered instead of"
        " the best seed's"
    )
    registry.add_argument("--final", metavar="RUN", help=final)
    registry.add_argument(
        "--force", action="store_true", help="with --register: champion even if it is no better on this split"
    )
    return parser


def _parse_scope(args: argparse.Namespace) -> "Scope":
    from flowerml.selection.records import Rule, Scope

    if not re.fullmatch(r"[0-9]{1,10}(,[0-9]{1,10})*", args.seeds):
        raise UserError(
            f"--seeds is {args.seeds!r}. Allowed: whole numbers, comma-separated, none twice; for example {SEEDS}"
        )
    for flag, value in (("--data-digest", args.data_digest), ("--split-digest", args.split_digest)):
        if value is not None and not re.fullmatch(r"[0-9a-f]{1,64}", value):
            raise UserError(f"{flag} is {value!r}. Allowed: the digest's first characters, up to 64 of 0-9 and a-f")
    for flag, value in (("--campaign", args.campaign), ("--phase", args.phase)):
        if value is not None and not re.fullmatch(r"[^\s'\"\\]([^'\"\\\r\n]{0,198}[^\s'\"\\])?", value):
            raise UserError(
                f"{flag} is {value!r}. Allowed: text of up to 200 characters without quotes and backslashes"
            )
    return Scope(
        seeds=tuple(int(seed) for seed in args.seeds.split(",")),
        kinds=("train", "trial") if args.include else ("train",),
        family=args.family,
        campaign=args.campaign,
        phases=None if args.phase is None else tuple(dict.fromkeys(args.phase.split(","))),
        data_digest=args.data_digest,
        split_digest=args.split_digest,
        rule=Rule(args.by),
    )


def _check_select_flags(args: argparse.Namespace) -> None:
    """Refuse invalid combinations of flags. Raises UserError."""
    if args.force and args.register == "false":
        raise UserError("--force decides about the alias of a registered version: give it with --register")
    if args.final and args.register == "false":
        raise UserError("--final names the weights of a registered version: give it with --register")
    if args.no_record and args.register == "true":
        raise UserError(
            "--register and --no-record exclude each other: a registered version points to the run of its selection"
        )
    if args.no_record and args.experiment:
        raise UserError("--experiment and --no-record exclude each other: the first is where the selection's run goes")


def _run_opener(args: argparse.Namespace) -> "Callable[[str], Recorder] | None":
    if args.no_record:
        return None
    from flowerml.tracking import default_experiment, start_child_run

    experiment = args.experiment or default_experiment() or ("relations" if args.family == "relation" else "flowers")
    return lambda name: start_child_run(None, experiment, name, "select")


def _registrar(args: argparse.Namespace) -> "Register | None":
    if args.register == "false":
        return None
    from flowerml.tracking import register

    options = {"retrained_id": args.final, "force": args.force}
    return lambda decision, run_id: register(decision, args.family, selection_id=run_id, **options).summary


def _selection_json(decision: "Decision", selected: "SelectionResult | None") -> str:
    outcome = {"run_id": selected.run_id if selected else None, "registered": selected.registered if selected else None}
    return json.dumps({**outcome, **decision.as_json()}, allow_nan=False)
