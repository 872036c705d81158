"""The finished runs of a campaign as folders on this host: their own, or fetched from the tracking server."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowerml.errors import UserError
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.tracking.search.campaigns import ServerRun, fetch_artifact, runs_of_campaign

logger = logging.getLogger(__name__)

_FETCHED = ("best.pth", "settings.json")


@contextmanager
def campaign_run_folders(campaign: str, family: str) -> Iterator[tuple[Path, ...]]:
    """The folders of a campaign's finished training runs of a family, the best validation accuracy first; smoke tests
    and finals are none.

    Runs of other hosts are fetched into a temporary folder, which lasts as long as the context.

    Raises:
        UserError: fewer than two runs, or the tracking server can't be reached.
    """
    found = [run for run in runs_of_campaign(campaign, ("train",)) if run.tags.get("family") == family]
    runs = [run for run in found if run.status == "FINISHED"]
    if len(runs) < 2:
        raise UserError(
            f"campaign {campaign} has {len(runs)} finished training run{'s' * (len(runs) != 1)} of family {family}"
            f" (of {len(found)}): two or more can be combined. Check --campaign (its id, as `flowerml campaign` prints"
            " it) and the tracking server"
        )
    runs.sort(key=lambda run: run.metrics.get("best_val_accuracy", 0.0), reverse=True)
    with tempfile.TemporaryDirectory(prefix="flowerml-combine-") as scratch:
        yield tuple(_folder_of(run, Path(scratch)) for run in runs)


def _folder_of(run: ServerRun, scratch: Path) -> Path:
    own = Path(run.params.get("output_dir", ""))
    if run_id_of(own) == run.run_id and (own / "best.pth").is_file():
        return own
    folder = scratch / run.run_id
    logger.info(f"fetching the weights of run {run.tags.get('plan_run', run.run_id)}")
    for name in _FETCHED:
        fetch_artifact(run.run_id, name, folder)
    return folder
