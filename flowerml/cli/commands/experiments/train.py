"""`flowerml train`: run one training, or those of a cross-validation."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.cli.config_file import config_text, read_config
from flowerml.cli.given_settings import difference_from, repeated_settings, resolve_over
from flowerml.errors import UserError
from flowerml.process.garbage_collection import freeze_imports
from flowerml.progress_bar import status
from flowerml.settings import Settings
from flowerml.settings.flags import CommandParser, add_settings
from flowerml.training.distributed.torchrun import torchrun

if TYPE_CHECKING:
    from flowerml.runs.prepare import Prepared
    from flowerml.tracking import TrainingRun

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml train",
        description="Fine-tune one image classifier. A setting left out, or `auto`, takes its default.",
    )
    parser.add_argument("--config", metavar="FILE", help="settings from a YAML file; flags win over it")
    about = "settings of this MLflow run, but for its folders, names and machine; flags win over them"
    parser.add_argument("--like", metavar="RUN_ID", help=about)
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings as such a file, and train nothing"
    )
    add_settings(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, check, train. Raises UserError."""
    flags = vars(make_parser().parse(argv))
    as_json, only_print = flags.pop("json"), flags.pop("print_config")
    config, like_id = flags.pop("config"), flags.pop("like")
    if config is not None and like_id is not None:
        raise UserError("--config and --like each give all settings: leave out one of the two")
    if only_print and as_json:
        raise UserError("--print-config prints YAML and --json the result of a training: give one of them")
    like = None if like_id is None else _find_run(like_id)
    settings, warnings = _resolve(flags, config, like)
    started = torchrun()
    for line in warnings if started is None or started.rank == 0 else ():
        logger.warning(line)
    if only_print:
        print(config_text(settings), end="")
        return 0

    with status("loading PyTorch and MLflow"):
        from flowerml.cli.stale_runs import close_stale_runs_in_background
        from flowerml.runs.folds.out_of_fold import read_cross_validation
        from flowerml.runs.folds.results import write_results
        from flowerml.runs.folds.train import train_folds
        from flowerml.runs.ranks.rendezvous import torchrun_rendezvous, under_torchrun
        from flowerml.runs.ranks.replica import run_replica
        from flowerml.runs.train import run_training
        from flowerml.tracking import (
            JournalRecorder,
            default_experiment,
            ignore_foreign_env_run,
            start_child_run,
            start_run,
            where_to_look,
        )

        freeze_imports()
    if started is not None and started.world > 1:
        settings = under_torchrun(settings, started)
        if started.rank > 0:
            return run_replica(torchrun_rendezvous(started.world), started)
    ignore_foreign_env_run()
    if settings.experiment is None:
        settings = settings.model_copy(update={"experiment": default_experiment()})
    recorders: list[JournalRecorder] = []

    def open_recorder(
        complete: Settings, experiment: str, name: str, attempt: Path, previous: Path | None
    ) -> JournalRecorder:
        recorders.append(start_run(complete, experiment, name, attempt, previous))
        close_stale_runs_in_background(Path(complete.runs_root), attempt.parent.parent)
        return recorders[-1]

    told: list[str] = []  # of the folds, once

    def compare(prepared: "Prepared") -> None:
        if like is not None and not told and (line := difference_from(like, prepared, flags)):
            told.append(line)
            logger.warning(line)

    labels = {} if like is None else {"flowerml.like": like.run_id}
    if settings.folds and settings.fold is None:
        if started is not None and started.world > 1:
            raise UserError(
                f"--folds {settings.folds} under torchrun: start each fold by itself, with --fold 1 and so on, or let"
                " flowerml start the processes with --gpus"
            )
        parent = train_folds(settings, open_recorder, labels=labels, on_prepared=compare)
        report = write_results(
            read_cross_validation(parent), lambda experiment, name: start_child_run(None, experiment, name, "folds")
        )
        if pending := sum(recorder.pending for recorder in recorders):
            logger.info(
                f"\n{pending} records are not at MLflow yet: `flowerml sync --all --runs-root {parent}` delivers them"
            )
        next_pictures = "" if report.page is None else f"; pictures to look at next: {report.page}"
        logger.info(f"\n{report.as_text()}\n\neverything lies in {parent}{next_pictures}")
        if as_json:
            print(json.dumps({"folder": str(parent), **report.as_json()}))
        return 0
    finished = run_training(settings, open_recorder, labels=labels, torchrun=started, on_prepared=compare)
    place = f"everything lies in {finished.folder}"
    files = sum(recorder.waiting_files for recorder in recorders)
    pending = sum(recorder.pending for recorder in recorders)
    if files == pending > 0:
        logger.info(
            f"\nrun {finished.run_id} is FINISHED and in MLflow, but for files: `flowerml sync {finished.folder}`"
            f" uploads them; {place}"
        )
    elif pending:
        logger.info(
            f"\nthe run is FINISHED and not at MLflow yet: `flowerml sync {finished.folder}` delivers it; {place}"
        )
    else:
        logger.info(f"\nrun {finished.run_id} is FINISHED; {place} and in MLflow: {where_to_look(finished.run_id)}")
    if as_json:
        result = {
            "run_id": finished.run_id,
            "config_id": finished.config_id,
            "folder": str(finished.folder),
            "checkpoint": str(finished.folder / "best.pth"),
            "best_epoch": finished.best_epoch,
            "val": finished.scores.as_json() if finished.scores else None,
            "test": finished.test.as_json() if finished.test else None,
        }
        print(json.dumps(result))
    return 0


def _resolve(flags: Mapping[str, str], config: str | None, like: "TrainingRun | None") -> tuple[Settings, list[str]]:
    """The flags over the file or the run that is named, over the defaults; and warnings. Raises UserError."""
    if like is not None:
        return resolve_over(repeated_settings(like, flags), f"--like {like.run_id}", flags)
    return resolve_over({} if config is None else read_config(Path(config)), f"--config {config}", flags)


def _find_run(run_id: str) -> "TrainingRun":
    from flowerml.tracking import find_training_run  # it imports MLflow

    return find_training_run(run_id)
