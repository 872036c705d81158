"""Carrying out a campaign: one loop that looks how things stand, asks the schedule what is next, and does that.

Whatever is lost when the process is killed can be found again: how runs stand by their folders and the tracking server,
what was chosen by choosing again. So starting, going on and finishing are the same code.
"""

import logging
import time
from collections.abc import Mapping

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.engine.finalize import register_and_export
from flowerml.campaign.engine.job_factory import log_path, make_job
from flowerml.campaign.engine.phase_decision import decide_phase
from flowerml.campaign.engine.publisher import Publisher
from flowerml.campaign.engine.snapshot_builder import SnapshotBuilder
from flowerml.campaign.execution.local_executor import Executor
from flowerml.campaign.plan.model import PlanRun
from flowerml.campaign.report.console import Display
from flowerml.campaign.report.eta import with_eta
from flowerml.campaign.report.snapshot import CampaignSnapshot, DecisionSummary, DeliveredFile
from flowerml.campaign.state.promotion import PromotedConfig, settings_of
from flowerml.campaign.state.run_status import last_lines, run_states
from flowerml.campaign.state.scheduler import Action, NextAction, RunState, next_action
from flowerml.campaign.status import CampaignStatus
from flowerml.errors import RunFailed, UserError
from flowerml.events import now_ms
from flowerml.forkserver.job import JobResult
from flowerml.runs.lifecycle.lease import lease_owner
from flowerml.runs.lifecycle.reap import reap_folder
from flowerml.runs.lifecycle.stop_request import StopRequest
from flowerml.settings import Settings
from flowerml.tracking import sync_folder
from flowerml.tracking.search.campaigns import unreachable_reason
from flowerml.training.callbacks import Stopped

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_NOTED_S = 15.0  # seconds of running runs are noted so often
_PATIENCE_S = 600.0  # for runs that were asked to stop: a checkpoint of a large model on a slow disk
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class CampaignRunner:
    """One process that carries out a campaign on whatever executor it is given."""

    def __init__(
        self, ground: CampaignContext, executor: Executor, display: Display, stopping: StopRequest, places: int
    ) -> None:
        self.ground, self.plan, self.place = ground, ground.plan, ground.locations
        self.executor, self.display, self.stopping, self.places = executor, display, stopping, places
        self.choices: dict[str, tuple[PromotedConfig, ...]] = {
            of: (found.choice,) for of, found in ground.external_choices.items()
        }
        self.decisions: dict[str, DecisionSummary] = {}
        self.delivered: tuple[DeliveredFile, ...] = ()
        self.settings: dict[str, Settings] = {
            run.name: run.settings for run in self.plan.runs if run.settings is not None
        }
        self.teller = SnapshotBuilder(ground, self.settings)
        self.publisher = Publisher(ground)
        self._since: dict[str, float] = {}  # running here: when their seconds were noted last
        self._fails = 0  # of asking the server, since its last answer
        self._ending = False  # runs are asked to stop: their ends are no failures
        self._not_before = 0.0

    def run(self) -> CampaignSnapshot:
        """Everything that is left to do.

        Raises:
            RunFailed: a blocking run failed, nothing could be chosen, or the delivery is not what was trained.
            Stopped: somebody asked to stop; the runs have been asked too, and have ended.
        """
        try:
            while (step := self._step()).action is not Action.DONE or not self._finished():
                self._do(step)
                self._check_stop()
            return self._publish(CampaignStatus.FINISHED)
        except Stopped:
            self._publish(CampaignStatus.STOPPED)
            raise
        except UserError as error:
            self._publish(CampaignStatus.FAILED, str(error))
            raise
        finally:
            self.place.ledger.save()

    def _step(self) -> NextAction:
        hours = sum(notes.seconds for notes in self.place.ledger.runs.values()) / 3600
        step = next_action(self.plan, self._states(), set(self.choices), hours)
        self._publish(CampaignStatus.RUNNING)
        return step

    def _states(self) -> Mapping[str, RunState]:
        return run_states(self.plan, self.place, self._since)

    def _do(self, step: NextAction) -> None:
        match step.action:
            case Action.RUN:
                for name in step.runs[: self.executor.free_slots]:
                    self._start(self.plan.run(name))
            case Action.DELIVER if self._may_ask():
                self._deliver(step)
            case Action.DECIDE if self._may_ask():
                self._decide(step.phase)
            case Action.STOP:
                self._stop_all()
                raise RunFailed(f"phase {step.phase}: {step.reason}", self._last_words(step.runs))
        at_once = step.action in (Action.DECIDE, Action.DELIVER) and not self._fails
        for ended in self.executor.poll(0.0 if at_once else _TICK_S):
            self._note(ended)
        self._count_seconds()

    def _start(self, run: PlanRun) -> None:
        settings = self.settings[run.name] = settings_of(self.plan, run, self.choices)
        choice = self.choices[run.source.phase][run.source.place - 1] if run.source is not None else None
        self.executor.start(make_job(self.ground, run, settings, choice))
        notes = self.place.ledger.of(run.name)
        notes.started = notes.started or now_ms()
        self._since[run.name] = time.monotonic()
        self.place.ledger.save()

    def _note(self, ended: JobResult) -> None:
        """What becomes of a run whose process has ended: nothing more where it is finished; a failure is counted."""
        notes = self.place.ledger.of(ended.name)
        notes.seconds += time.monotonic() - self._since.pop(ended.name, time.monotonic())
        if ended.exit_code != 0 and not (ended.lost or self._ending or self._held_elsewhere(ended)):
            notes.failures += 1
            notes.reason = ended.last_line or (
                f"killed by signal {-ended.exit_code}" if ended.exit_code < 0 else f"exit code {ended.exit_code}"
            )
        elif ended.lost:
            logger.warning(f"{ended.name}: {ended.last_line}; it is gone on with")
        self.place.ledger.save()

    def _held_elsewhere(self, ended: JobResult) -> bool:
        """Whether a run was refused because another process works on it (an orphan of an earlier runner): that one's
        end is waited for.
        """
        who = lease_owner(self.place.folder(ended.name))
        return ended.exit_code == 2 and (
            (who is not None and not who.expired) or " is being worked on by " in ended.last_line
        )

    def _deliver(self, step: NextAction) -> None:
        """Bring journals to the server; what can't be brought now is tried again later."""
        for name in step.runs:
            folder = self.place.folder(name)
            reap_folder(folder)
            done = sync_folder(folder)
            if done.pending or done.why:
                self._back_off(
                    f"phase {step.phase} waits: {done.pending} events of {name} are not with the tracking server"
                    f" ({done.why})"
                )
                return
        self._fails = 0

    def _decide(self, name: str) -> None:
        try:
            self.choices[name], self.decisions[name] = decide_phase(self.ground, self.plan.phase(name), self.choices)
        except UserError as error:
            self._wait_or_fail(f"phase {name} waits to be decided", error)
            return
        self._fails = 0
        for run in self.plan.runs:  # what is known of the runs that follow shows in the table at once
            if run.source is not None and run.source.phase == name:
                self.settings[run.name] = settings_of(self.plan, run, self.choices)

    def _finished(self) -> bool:
        """Register and deliver, once everything else is done; False where the server has to be waited for."""
        if not self._may_ask():
            return False
        try:
            self.delivered = register_and_export(self.ground, self.decisions)
        except UserError as error:
            self._wait_or_fail("the final models wait to be registered", error)
            return False
        return True

    def _wait_or_fail(self, words: str, error: UserError) -> None:
        """Wait where the server does not answer. Raises RunFailed where that is not what is wrong."""
        if unreachable_reason() is None:
            raise RunFailed(*error.args) from error
        self._back_off(f"{words}: {error}")

    def _may_ask(self) -> bool:
        return time.monotonic() >= self._not_before

    def _back_off(self, words: str) -> None:
        if self._fails == 0:
            logger.warning(words)
        self._not_before = time.monotonic() + _PAUSES_S[min(self._fails, len(_PAUSES_S) - 1)]
        self._fails += 1

    def _check_stop(self) -> None:
        """Stop where somebody asks for it. Raises Stopped, or Fenced where another runner has taken the campaign over."""
        if reason := self.stopping.reason:
            self._stop_all()
            raise Stopped(reason)

    def _stop_all(self) -> None:
        """Ask every run to stop, with a checkpoint, and wait for their ends."""
        running, self._ending = self.executor.running, True
        if not running:
            return
        logger.info(f"asking {', '.join(running)} to stop, with a checkpoint")
        for name in running:
            self.executor.stop(name)
        until = time.monotonic() + _PATIENCE_S
        while self.executor.running and time.monotonic() < until:
            for ended in self.executor.poll(_TICK_S):
                self._note(ended)

    def _count_seconds(self) -> None:
        now, due = time.monotonic(), False
        for name, since in self._since.items():
            if now - since >= _NOTED_S:
                self.place.ledger.of(name).seconds += now - since
                self._since[name], due = now, True
        if due:
            self.place.ledger.save()

    def _last_words(self, names: tuple[str, ...]) -> list[str]:
        lines: list[str] = []
        for name in names:
            log = log_path(self.ground, name)
            lines += [f"{name}: {self.place.ledger.of(name).reason}", f"the last lines of {log}:", *last_lines(log)]
        return lines

    def _publish(self, status: CampaignStatus, reason: str = "") -> CampaignSnapshot:
        found = self._states()
        story = self.teller.build(
            found, self.choices, self.decisions, status=status, reason=reason, delivered=self.delivered
        )
        story = with_eta(story, self.places)
        self.display.show(story)
        self.publisher.publish(story, urgent=status is not CampaignStatus.RUNNING)
        return story
