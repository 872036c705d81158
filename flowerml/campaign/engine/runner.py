"""The campaign's loop: read the states of the runs, ask the scheduler for the next action, execute it.

All state can be recovered after a kill: run states from folders and the tracking server, promotions by deciding again.
So starting, resuming and finishing are the same code.
"""

import logging
import time
from collections.abc import Mapping

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.engine.deadline import Deadline
from flowerml.campaign.engine.finalize import register_and_export
from flowerml.campaign.engine.job_factory import log_path, make_job
from flowerml.campaign.engine.phase_decision import decide_phase
from flowerml.campaign.engine.publisher import Publisher
from flowerml.campaign.engine.snapshot_builder import SnapshotBuilder
from flowerml.campaign.engine.superseded import set_aside_if_superseded
from flowerml.campaign.execution.local_executor import Executor
from flowerml.campaign.plan.model import PlanRun
from flowerml.campaign.report.console import Display
from flowerml.campaign.report.eta import with_eta
from flowerml.campaign.report.snapshot import CampaignSnapshot, DecisionSummary, DeliveredFile
from flowerml.campaign.state.promotion import PromotedConfig, resolve_settings
from flowerml.campaign.state.run_status import read_log_tail, run_states
from flowerml.campaign.state.scheduler import ActionKind, NextAction, RunState, next_action
from flowerml.campaign.status import CampaignStatus
from flowerml.errors import RunFailed, Stopped, UserError
from flowerml.events import now_ms
from flowerml.forkserver.job import JobResult
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.reap import complete_finished_run, reap_folder
from flowerml.runs.lifecycle.stop_request import StopRequest
from flowerml.settings import Settings
from flowerml.tracking import sync_folder
from flowerml.tracking.search.campaigns import unreachable_reason

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_SAVE_SECONDS_S = 15.0  # interval at which the durations of running runs are saved
_STOP_S = 600.0  # for stopping runs: a checkpoint of a large model on a slow disk
_BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class CampaignRunner:
    """Runs a campaign on an executor. `slots` is the number of runs at a time, for the ETA."""

    def __init__(
        self,
        context: CampaignContext,
        executor: Executor,
        display: Display,
        stop_request: StopRequest,
        slots: int,
    ) -> None:
        self.context, self.plan, self.locations = context, context.plan, context.locations
        self.executor, self.display, self.stop_request, self.slots = executor, display, stop_request, slots
        self.deadline = context.options.deadline
        self.promotions: dict[str, tuple[PromotedConfig, ...]] = {
            of: (found.config,) for of, found in context.external_choices.items()
        }
        self.decisions: dict[str, DecisionSummary] = {}
        self.delivered: tuple[DeliveredFile, ...] = ()
        self.settings: dict[str, Settings] = {
            run.name: run.settings for run in self.plan.runs if run.settings is not None
        }
        self.snapshot_builder = SnapshotBuilder(context, self.settings)
        self.publisher = Publisher(context)
        self._running_since: dict[str, float] = {}  # by run: when its seconds were saved last
        self._failed_requests = 0  # since the server answered last
        self._is_stopping = False  # runs that end now have not failed
        self._next_request_at = 0.0

    def run(self) -> CampaignSnapshot:
        """Execute all remaining actions.

        Raises:
            RunFailed: a blocking run failed, a phase could not be decided, or the delivery failed its checks.
            Stopped: a stop was requested; the runs have stopped with a checkpoint.
        """
        for run in self.plan.runs:
            complete_finished_run(self.locations.folder(run.name))
        try:
            while (action := self._next_action()).kind is not ActionKind.DONE or not self._finalize():
                self._execute(action)
                self._check_stop()
            return self._publish(CampaignStatus.FINISHED)
        except Stopped:
            self._publish(CampaignStatus.STOPPED)
            raise
        except UserError as error:
            self._publish(CampaignStatus.FAILED, str(error))
            raise
        finally:
            self.locations.ledger.save()

    def _next_action(self) -> NextAction:
        hours = sum(notes.seconds for notes in self.locations.ledger.runs.values()) / 3600
        if self.deadline is not None:
            self._skip_for(self.deadline)
        action = next_action(self.plan, self._states(), set(self.promotions), hours)
        self._stop_at_deadline(action)
        self._publish(CampaignStatus.RUNNING)
        return action

    def _states(self) -> Mapping[str, RunState]:
        states = run_states(self.plan, self.locations, self._running_since)
        return states if self.deadline is None else self.deadline.applied(states)

    def _skip_for(self, deadline: Deadline) -> None:
        """Skip what does not fit before the deadline any more; what runs of it stops with a checkpoint."""
        snapshot, slots = self._snapshot(CampaignStatus.RUNNING), self.executor.free_slots
        for name in deadline.skip(self.plan, self._states(), snapshot, slots):
            if name in self.executor.running:
                logger.info(f"{name} would not end in time: asking it to stop, with a checkpoint")
                self.executor.stop(name)

    def _stop_at_deadline(self, action: NextAction) -> None:
        """Raise Stopped where the deadline has passed and there are runs to come; those that run stop first."""
        if self.deadline is None or self.deadline.left > 0 or action.kind not in (ActionKind.RUN, ActionKind.WAIT):
            return
        self._stop_all()
        raise Stopped("the deadline has passed: the same command with a later --deadline, or without, goes on")

    def _execute(self, action: NextAction) -> None:
        match action.kind:
            case ActionKind.RUN:
                for name in action.runs[: self.executor.free_slots]:
                    self._start(self.plan.run(name))
            case ActionKind.DELIVER if self._is_server_due():
                self._deliver_journals(action)
            case ActionKind.DECIDE if self._is_server_due():
                self._decide_phase(action.phase)
            case ActionKind.STOP:
                self._stop_all()
                raise RunFailed(f"phase {action.phase}: {action.reason}", self._log_tails(action.runs))
        at_once = action.kind in (ActionKind.DECIDE, ActionKind.DELIVER) and not self._failed_requests
        for result in self.executor.poll(0.0 if at_once else _POLL_S):
            self._record_result(result)
        self._add_run_seconds()

    def _start(self, run: PlanRun) -> None:
        settings = self.settings[run.name] = resolve_settings(self.plan, run, self.promotions)
        config = self.promotions[run.source.phase][run.source.rank - 1] if run.source is not None else None
        self.executor.start(make_job(self.context, run, settings, config))
        notes = self.locations.ledger.notes_of(run.name)
        notes.started = notes.started or now_ms()
        self._running_since[run.name] = time.monotonic()
        self.locations.ledger.save()

    def _record_result(self, result: JobResult) -> None:
        """Note the duration of a run whose process has ended, and count a failure."""
        notes = self.locations.ledger.notes_of(result.name)
        notes.seconds += time.monotonic() - self._running_since.pop(result.name, time.monotonic())
        if result.exit_code != 0:
            complete_finished_run(self.locations.folder(result.name))
        if result.exit_code != 0 and not (
            result.lost or self._is_stopping or self._is_skipped(result.name) or self._is_leased_elsewhere(result)
        ):
            notes.failures += 1
            notes.reason = result.last_line or (
                f"killed by signal {-result.exit_code}" if result.exit_code < 0 else f"exit code {result.exit_code}"
            )
        elif result.lost:
            logger.warning(f"{result.name}: {result.last_line}; it is gone on with")
        self.locations.ledger.save()

    def _is_skipped(self, name: str) -> bool:
        return self.deadline is not None and name in self.deadline.skipped

    def _is_leased_elsewhere(self, result: JobResult) -> bool:
        """Whether a run was refused as another process, perhaps an orphan of a killed campaign, has its lease."""
        owner = lease_owner(self.locations.folder(result.name))
        return result.exit_code == 2 and (
            (owner is not None and not owner.expired) or " is being worked on by " in result.last_line
        )

    def _deliver_journals(self, action: NextAction) -> None:
        """Deliver the runs' journals to the server; back off where it does not take all of one."""
        for name in action.runs:
            folder = self.locations.folder(name)
            reap_folder(folder)
            synced = sync_folder(folder)
            if synced.pending or synced.reason:
                self._back_off(
                    f"phase {action.phase} waits: {synced.pending} events of {name} are not with the tracking server"
                    f" ({synced.reason})"
                )
                return
        self._failed_requests = 0

    def _decide_phase(self, name: str) -> None:
        try:
            self.promotions[name], self.decisions[name] = decide_phase(
                self.context,
                self.plan.phase(name),
                self.promotions,
                () if self.deadline is None else self.deadline.skipped,
            )
        except UserError as error:
            self._back_off_or_fail(f"phase {name} waits to be decided", error)
            return
        self._failed_requests = 0
        for run in self.plan.runs:  # the table shows the settings of the dependent runs at once
            if run.source is not None and run.source.phase == name:
                settings = self.settings[run.name] = resolve_settings(self.plan, run, self.promotions)
                if set_aside_if_superseded(self.context, run, settings):
                    self.snapshot_builder.forget(run.name)

    def _finalize(self) -> bool:
        """Register and export the final models; False where the server is unreachable."""
        if not self._is_server_due():
            return False
        try:
            self.delivered = register_and_export(self.context, self.decisions)
        except UserError as error:
            self._back_off_or_fail("the final models wait to be registered", error)
            return False
        return True

    def _back_off_or_fail(self, waiting: str, error: UserError) -> None:
        """Back off where the server is unreachable. Raises RunFailed for any other error."""
        if unreachable_reason() is None:
            raise RunFailed(*error.args) from error
        self._back_off(f"{waiting}: {error}")

    def _is_server_due(self) -> bool:
        return time.monotonic() >= self._next_request_at

    def _back_off(self, message: str) -> None:
        if self._failed_requests == 0:
            logger.warning(message)
        self._next_request_at = time.monotonic() + _BACK_OFF_S[min(self._failed_requests, len(_BACK_OFF_S) - 1)]
        self._failed_requests += 1

    def _check_stop(self) -> None:
        """Raise Stopped where a stop was requested, and LeaseLost where another process has taken the campaign over."""
        if reason := self.stop_request.reason:
            self._stop_all()
            raise Stopped(reason)

    def _stop_all(self) -> None:
        """Stop every run with a checkpoint, and wait for their ends."""
        running, self._is_stopping = self.executor.running, True
        if not running:
            return
        logger.info(f"asking {', '.join(running)} to stop, with a checkpoint")
        for name in running:
            self.executor.stop(name)
        deadline = time.monotonic() + _STOP_S
        while self.executor.running and time.monotonic() < deadline:
            for result in self.executor.poll(_POLL_S):
                self._record_result(result)

    def _add_run_seconds(self) -> None:
        now, changed = time.monotonic(), False
        for name, since in self._running_since.items():
            if now - since >= _SAVE_SECONDS_S:
                self.locations.ledger.notes_of(name).seconds += now - since
                self._running_since[name], changed = now, True
        if changed:
            self.locations.ledger.save()

    def _log_tails(self, names: tuple[str, ...]) -> list[str]:
        lines: list[str] = []
        for name in names:
            log = log_path(self.context, name)
            lines += [
                f"{name}: {self.locations.ledger.notes_of(name).reason}",
                f"the last lines of {log}:",
                *read_log_tail(log),
            ]
        return lines

    def _publish(self, status: CampaignStatus, reason: str = "") -> CampaignSnapshot:
        snapshot = self._snapshot(status, reason)
        self.display.show(snapshot)
        self.publisher.publish(snapshot, urgent=status is not CampaignStatus.RUNNING)
        return snapshot

    def _snapshot(self, status: CampaignStatus, reason: str = "") -> CampaignSnapshot:
        snapshot = self.snapshot_builder.build(
            self._states(), self.promotions, self.decisions, status=status, reason=reason, delivered=self.delivered
        )
        return with_eta(snapshot, self.slots)
