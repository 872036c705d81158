"""Statuses of runs, phases and campaigns, and the record of an epoch: what all rooms of `campaign` share."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from flowerml.translation import N_


class RunStatus(StrEnum):
    """Status of a run of the plan."""

    TODO = "TODO"  # not begun
    RUNNING = "RUNNING"
    INTERRUPTED = "INTERRUPTED"  # stopped or killed: it will be resumed
    FAILED = "FAILED"  # for good, after as many attempts as the plan allows
    FINISHED = "FINISHED"
    SKIPPED = "SKIPPED"  # the campaign ended before it, or it did not fit before the deadline


class PhaseStatus(StrEnum):
    """Status of a phase."""

    WAITING = N_("waiting")  # for the phases before it
    OPEN = N_("open")  # its runs may run
    DELIVERING = N_("delivering")  # its runs have ended; their journals are not all with the tracking server
    CLOSED = N_("closed")


class CampaignStatus(StrEnum):
    """Status of a campaign."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"  # by hand, or its process died: the same command resumes it
    FAILED = "FAILED"  # a blocking run failed, or no configuration could be promoted; the snapshot has the reason
    FINISHED = "FINISHED"


@dataclass(frozen=True)
class Epoch:
    """One row of a run's history: 1-based epoch, and metrics by their MLflow names (train_loss, val_accuracy, …)."""

    number: int
    figures: Mapping[str, float]
