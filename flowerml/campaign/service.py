"""Run a campaign: acquire the lease, build the context, execute the phases, record the final status."""

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
from flowerml.campaign.execution.local_executor import Executor
from flowerml.campaign.plan.model import Plan
from flowerml.campaign.report.console import Display, open_display
from flowerml.campaign.report.snapshot import CampaignSnapshot
from flowerml.errors import Stopped, UserError
from flowerml.events import Status, now_ms
from flowerml.files import check_writable
from flowerml.runs.lifecycle.lease import HEARTBEATS_PER_LEASE, clean_fenced, fenced_writes
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


def run_campaign(
    plan: Plan,
    options: CampaignOptions,
    executor: Executor,
    *,
    parallel: int = 1,
    progress: Display | None = None,
) -> CampaignSnapshot:
    """Run or resume a campaign, `parallel` runs at a time, with an executor that is closed at the end.

    `progress` displays the snapshots (None: a table on a terminal, log lines elsewhere). Runs that do not fit before
    the deadline of the options are skipped; where it passes all the same, the campaign stops.

    Raises:
        UserError: nothing was begun: images, folders or the server are unusable, or another process has the lease.
        RunFailed: it can't go on; its run is FAILED, with the reason.
        KeyboardInterrupt: a stop was requested; its run is KILLED, and the same command resumes it.
    """
    stop_request = StopRequest()
    launcher = find_launcher(stops=True)
    with closing(executor) as jobs:
        if any(phase.final is not None for phase in plan.phases):
            check_writable(options.output_dir / "…")  # now, and not when all is trained
        data = load_data_info(plan, options.train_dir)
        campaign = campaign_id(plan, data, options.name)
        logger.info(f"campaign {campaign}: {len(plan.runs)} runs, into {options.runs_root}")
        lease = acquire_lease(options.runs_root / campaign, campaign)
        with fenced_writes(lease), watch_run(lease.heartbeat, LEASE_S / HEARTBEATS_PER_LEASE, stop_request, launcher):
            clean_fenced(lease)
            context = _build_context(plan, options, data, campaign, stop_request)
            displayed = nullcontext(progress) if progress is not None else open_display()
            return _run_phases(context, jobs, stop_request, parallel, displayed)


def _build_context(
    plan: Plan, options: CampaignOptions, data: DataInfo, campaign: str, stop_request: StopRequest
) -> CampaignContext:
    """As `build_context`. Raises KeyboardInterrupt where a stop is requested while it waits for the server."""
    try:
        with handle_signals(stop_request), graceful(stop_request) as stop_reason:
            context = build_context(plan, options, data, campaign, stop_reason)
    except (Stopped, StoppedImmediately) as error:
        raise KeyboardInterrupt from error
    return context


def _run_phases(
    context: CampaignContext,
    executor: Executor,
    stop_request: StopRequest,
    parallel: int,
    displayed: AbstractContextManager[Display],
) -> CampaignSnapshot:
    status = Status.FAILED

    def set_status(value: str) -> None:
        nonlocal status
        status = Status(value)

    try:
        with (
            finalize_status(context.parent.recorder, set_status, stop_request),
            graceful(stop_request),
            displayed as shown,
        ):
            return CampaignRunner(context, executor, shown, stop_request, parallel).run()
    finally:
        with suppress(UserError):  # the server is unreachable: `flowerml reap` closes the launcher run
            context.parent.end_launcher(status.value, now_ms())
