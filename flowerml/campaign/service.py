"""A campaign from the plan to its last file: hold it, open what it stands on, run it, and leave everything in the right
state.
"""

import logging
from contextlib import AbstractContextManager, closing, nullcontext, suppress

from flowerml.campaign.engine.context import (
    LEASE_S,
    Data,
    Ground,
    Options,
    campaign_id,
    look_at_data,
    prepare_ground,
    take_hold,
)
from flowerml.campaign.engine.runner import Runner
from flowerml.campaign.execution.local_executor import Executor, Local
from flowerml.campaign.plan.model import Plan
from flowerml.campaign.report.console import Display, display
from flowerml.campaign.report.snapshot import Campaign
from flowerml.errors import UserError
from flowerml.events import Status, now_ms
from flowerml.runs.lifecycle.lease import forget_fenced, writing
from flowerml.runs.lifecycle.stop_request import StoppedAtOnce, Stopping, heard, launcher_of, patient, watched
from flowerml.runs.lifecycle.termination import ending
from flowerml.training.callbacks import Stopped

logger = logging.getLogger(__name__)

_BEATS = 6  # signs of life within a lease


def carry_out(
    plan: Plan, options: Options, *, parallel: int = 1, workers: Executor | None = None, shown: Display | None = None
) -> Campaign:
    """Carry out a campaign, or go on with it. `workers` carry out its runs, `parallel` at a time; None: this machine.
    `shown`: who shows how it stands; None: what fits where stderr goes.

    Raises:
        UserError: nothing was begun: pictures, folders, the server, or another runner that holds it.
        RunFailed: it can't go on; its run is FAILED, with the reason.
        KeyboardInterrupt: it was asked to stop; its run is KILLED, and the same command goes on with it.
    """
    stopping = Stopping()
    launcher = launcher_of(stops=True)
    with closing(workers or Local(parallel)) as hands:  # the imports of who starts runs go on beside this
        data = look_at_data(plan, options.train_dir)
        campaign = campaign_id(plan, data, options.name)
        logger.info(f"campaign {campaign}: {len(plan.runs)} runs, into {options.runs_root}")
        attempt = take_hold(options.runs_root / campaign, campaign)
        with writing(attempt), watched(attempt.beat, LEASE_S / _BEATS, stopping, launcher):
            forget_fenced(attempt)
            ground = _ground(plan, options, data, campaign, stopping)
            return _run(ground, hands, stopping, parallel, nullcontext(shown) if shown is not None else display())


def _ground(plan: Plan, options: Options, data: Data, campaign: str, stopping: Stopping) -> Ground:
    """As `prepare_ground`. Raises KeyboardInterrupt where somebody does not want to wait for the server."""
    try:
        with heard(stopping), patient(stopping) as asked:
            ground = prepare_ground(plan, options, data, campaign, asked)
    except (Stopped, StoppedAtOnce) as error:
        raise KeyboardInterrupt from error
    return ground


def _run(
    ground: Ground, workers: Executor, stopping: Stopping, parallel: int, showing: AbstractContextManager[Display]
) -> Campaign:
    status = Status.FAILED

    def ended(word: str) -> None:
        nonlocal status
        status = Status(word)

    try:
        with ending(ground.parent.recorder, ended, stopping), patient(stopping), showing as shown:
            return Runner(ground, workers, shown, stopping, parallel).run()
    finally:
        with suppress(UserError):  # a server that does not answer at the end: `flowerml reap` finds the launcher
            ground.parent.end_launcher(status.value, now_ms())
