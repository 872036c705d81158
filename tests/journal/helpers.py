"""Records of a journal, and what is read back."""

import math

from flowerml.events import DatasetInput, Ended, Metrics, Params, Status, Tags
from flowerml.journal import (
    DamagedLine,
    JournalEntry,
    RunResumed,
    RunStarted,
)

STARTED = RunStarted(
    "j" * 32, "flowers", "x", "host", settings={"classes": ["a", "b"]}, tags={"mlflow.user": "me"}, timestamp=1
)


EVENTS = (
    Params({"lr_head": "0.001", "classes": "été,花"}),
    Tags({"flowerml.kind": "train"}),
    Metrics({"val_accuracy": 0.1 + 0.2, "val_loss": math.inf}, step=1, timestamp=1000),
    DatasetInput("train", "d" * 64, "some\nwhere", "training"),
    Ended(Status.FAILED, "why", 5),
    RunResumed("host", "opened", 6),
    Metrics({"val_accuracy": 0.75}, step=2, timestamp=2000),
    Ended(Status.FINISHED, "", 7),
)


def records(journal, start=0):
    return [found.record for found in journal.records(start) if isinstance(found, JournalEntry)]


def damages(journal):
    return [found for found in journal.records() if isinstance(found, DamagedLine)]
