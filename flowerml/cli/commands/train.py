"""`flowerml train`: run one training, or those of a cross-validation."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from flowerml.errors import UserError
from flowerml.settings import Settings, resolve
from flowerml.settings.flags import CommandParser, add_settings
from flowerml.training.distributed.torchrun import torchrun

logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None) -> int:
    """Parse, check, train. Raises UserError."""
    parser = CommandParser(
        prog="flowerml train",
        description="Fine-tune one image classifier. A setting left out, or `auto`, takes its default.",
    )
    add_settings(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    args = vars(parser.parse(argv))
    as_json = args.pop("json")
    settings, warnings = resolve(args)
    started = torchrun()
    for line in warnings if started is None or started.rank == 0 else ():
        logger.warning(line)

    # From here on it costs seconds: torch and MLflow.
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
        warn_of_ignored_variables,
    )

    if started is not None and started.world > 1:
        settings = under_torchrun(settings, started)
        if started.rank > 0:
            return run_replica(torchrun_rendezvous(started.world), started)
    ignore_foreign_env_run()
    warn_of_ignored_variables()
    if settings.experiment is None:
        settings = settings.model_copy(update={"experiment": default_experiment()})
    recorders: list[JournalRecorder] = []

    def open_recorder(
        complete: Settings, experiment: str, name: str, attempt: Path, previous: Path | None
    ) -> JournalRecorder:
        recorders.append(start_run(complete, experiment, name, attempt, previous))
        close_stale_runs_in_background(Path(complete.runs_root), attempt.parent.parent)
        return recorders[-1]

    if settings.folds and settings.fold is None:
        if started is not None and started.world > 1:
            raise UserError(
                f"--folds {settings.folds} under torchrun: start each fold by itself, with --fold 1 and so on, or let"
                " flowerml start the processes with --gpus"
            )
        parent = train_folds(settings, open_recorder)
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
    finished = run_training(settings, open_recorder, torchrun=started)
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
        logger.info(f"\nrun {finished.run_id} is FINISHED; {place} and in MLflow (mlflow ui)")
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
