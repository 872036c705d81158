"""The configuration of a sweep, shared by its processes: study, fixed settings, search space, folders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from flowerml.settings import Settings, resolve
from flowerml.sweep.space import Dimension
from flowerml.sweep.study import PrunerName, open_study


@dataclass(frozen=True)
class SweepConfig:
    """What a worker needs to know; pickled.

    `identity` is what a study of the same name must agree with, `fixed` the settings of all trials, `heartbeat_s` the
    seconds between two heartbeats of a trial, `folder` the sweep's own, and `labels` the tags of the trials' runs.
    """

    storage: str
    study: str
    identity: Mapping[str, Any]
    maximize: bool
    pruner: PrunerName
    epochs: int
    seed: int
    heartbeat_s: int
    fixed: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]
    folder: Path
    monitor: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> optuna.Study:
        """Open the study. Raises UserError."""
        return open_study(
            self.storage,
            self.study,
            self.identity,
            maximize=self.maximize,
            pruner=self.pruner,
            epochs=self.epochs,
            seed=self.seed,
            heartbeat_s=self.heartbeat_s,
            dimensions=self.dimensions,
        )

    def settings(self, chosen: Mapping[str, Any], name: str) -> Settings:
        """Complete settings of one run of the sweep. Raises UserError."""
        folder = self.folder_of(name)
        return resolve({**self.fixed, **chosen, "output_dir": str(folder), "run_name": folder.name})[0]

    def folder_of(self, name: str) -> Path:
        """The folder of a run: beside those of all other runs, where `flowerml sync` and `flowerml reap` look."""
        return self.folder.with_name(f"{self.folder.name}-{name}")

    @property
    def folders(self) -> list[Path]:
        """The folders of the sweep's runs on this machine."""
        pattern = re.compile(re.escape(self.folder.name) + r"-trial-\d{4,}(-s\d+)?")
        return sorted(path for path in self.folder.parent.iterdir() if pattern.fullmatch(path.name))
