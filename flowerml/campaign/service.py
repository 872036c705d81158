"""A campaign from the plan to its last file: hold it, open what it stands on, run it, and leave everything in the right
state.
"""

import logging
from contextlib import AbstractContextManager, closing, nullcontext, suppress

from flowerml.campaign.engine.context import (
    LEASE_S,
    CampaignContext,
    CampaignOptions,
    DataInfo,
    acquire_lease,
    build_context,
    campaign_id,
    load_data_info,
)
from flowerml.campaign.engine.runner import CampaignRunner
from flowerml.campaign.execution.local_executor import Executor, LocalExecutor
from flowerml.campaign.plan.model import Plan
from flowerml.campaign.report.console import Display, open_display
from flowerml.campaign.report.snapshot import CampaignSnapshot
from flowerml.errors import Stopped, UserError
from flowerml.events import Status, now_ms
from flowerml.runs.lifecycle.lease import clean_fenced, fenced_writes
from flowerml.runs.lifecycle.stop_request import (
    StoppedImmediately,
    StopRequest,
    find_launcher,
    graceful,
    handle_signals,
    watch_run,
)
from flowerml.runs.lifecycle.termination import finalize_status

logger = logging.getLogger(__name__)

_BEATS = 6  # signs of life within a lease


def run_campaign(
    plan: Plan,
    options: CampaignOptions,
    *,
    parallel: int = 1,
    workers: Executor | None = None,
    shown: Display | None = None,
) -> CampaignSnapshot:
    """Carry out a campaign, or go on with it. `workers` carry out its runs, `parallel` at a time; None: this machine.
    `shown`: who shows how it stands; None: what fits where stderr goes.

    Raises:
        UserError: nothing was begun: pictures, folders, the server, or another runner that holds it.
        RunFailed: it can't go on; its run is FAILED, with the reason.
        KeyboardInterrupt: it was asked to stop; its run is KILLED, and the same command goes on with it.
    """
    stopping = StopRequest()
    launcher = find_launcher(stops=True)
    with closing(workers or LocalExecutor(parallel)) as hands:  # the imports of who starts runs go on beside this
        data = load_data_info(plan, options.train_dir)
        campaign = campaign_id(plan, data, options.name)
        logger.info(f"campaign {campaign}: {len(plan.runs)} runs, into {options.runs_root}")
        attempt = acquire_lease(options.runs_root / campaign, campaign)
        with fenced_writes(attempt), watch_run(attempt.heartbeat, LEASE_S / _BEATS, stopping, launcher):
            clean_fenced(attempt)
            ground = _ground(plan, options, data, campaign, stopping)
            return _run(ground, hands, stopping, parallel, nullcontext(shown) if shown is not None else open_display())


def _ground(
    plan: Plan, options: CampaignOptions, data: DataInfo, campaign: str, stopping: StopRequest
) -> CampaignContext:
    """As `prepare_ground`. Raises KeyboardInterrupt where somebody does not want to wait for the server."""
    try:
        with handle_signals(stopping), graceful(stopping) as asked:
            ground = build_context(plan, options, data, campaign, asked)
    except (Stopped, StoppedImmediately) as error:
        raise KeyboardInterrupt from error
    return ground


def _run(
    ground: CampaignContext,
    workers: Executor,
    stopping: StopRequest,
    parallel: int,
    showing: AbstractContextManager[Display],
) -> CampaignSnapshot:
    status = Status.FAILED

    def ended(word: str) -> None:
        nonlocal status
        status = Status(word)

    try:
        with finalize_status(ground.parent.recorder, ended, stopping), graceful(stopping), showing as shown:
            return CampaignRunner(ground, workers, shown, stopping, parallel).run()
    finally:
        with suppress(UserError):  # a server that does not answer at the end: `flowerml reap` finds the launcher
            ground.parent.end_launcher(status.value, now_ms())
