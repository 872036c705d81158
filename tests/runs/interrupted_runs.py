"""Recorders that interrupt a run, and what must be equal of a resumed one."""

import csv

import torch

from flowerml.events import Artifact, Ended, MemoryRecorder, Metrics
from flowerml.runs.lifecycle.run_file import read_run_file


class Stops(MemoryRecorder):
    """Ctrl-C at the first event that `at` picks."""

    def __init__(self, at, run_id="first"):
        super().__init__(run_id)
        self.at = at

    def record(self, event):
        super().record(event)
        if self.at(event) and not isinstance(event, Ended):
            raise KeyboardInterrupt


def epoch(number):
    return lambda event: isinstance(event, Metrics) and "train_loss" in event.values and event.step == number


def at_the_end(event):
    return isinstance(event, Artifact) and event.path.name == "curves.png"


def left(folder):
    """All that must be equal, of a finished run's folder."""
    with (folder / "history.csv").open() as handle:
        rows = [
            {name: text for name, text in row.items() if name != "images_per_second"} for row in csv.DictReader(handle)
        ]
    best = torch.load(folder / "best.pth", weights_only=True)
    weights = {name: tensor.numpy().tobytes() for name, tensor in best["state_dict"].items()}
    others = {
        name: (folder / name).read_bytes()
        for name in ("predictions.csv", "per_class.json", "confusion_matrix.json", "split.json")
    }
    return rows, weights, best["epoch"], best["metrics"], others


def assert_whole(folder, finished):
    assert left(folder) == left(finished.folder)
    assert read_run_file(folder).status == "FINISHED"
    assert not (folder / "state").exists()
    assert {path.name for path in folder.iterdir()} == {path.name for path in finished.folder.iterdir()}
