"""What all processes of a sweep are told: the study, what is given for all trials, what is chosen from, where the runs
lie.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from flowerml.settings import Settings, resolve
from flowerml.sweep.space import Dimension
from flowerml.sweep.study import Pruner, open_study


@dataclass(frozen=True)
class Task:
    """What a worker needs to know: the study, what is `given` for all trials, what is chosen from, the sweep's own
    folder, and the tags of the trials' runs.
    """

    storage: str
    study: str
    about: Mapping[str, Any]
    maximize: bool
    pruner: Pruner
    epochs: int
    seed: int
    beat: int
    given: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]
    folder: Path
    monitor: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> optuna.Study:
        """The study. Raises UserError."""
        return open_study(
            self.storage,
            self.study,
            self.about,
            maximize=self.maximize,
            pruner=self.pruner,
            epochs=self.epochs,
            seed=self.seed,
            beat=self.beat,
        )

    def settings(self, chosen: Mapping[str, Any], name: str) -> Settings:
        """Complete settings of one run of the sweep. Raises UserError."""
        folder = self.folder_of(name)
        return resolve({**self.given, **chosen, "output_dir": str(folder), "run_name": folder.name})[0]

    def folder_of(self, name: str) -> Path:
        """The folder of one run: beside those of all other runs, where `flowerml sync` and `flowerml reap` look."""
        return self.folder.with_name(f"{self.folder.name}-{name}")

    @property
    def folders(self) -> list[Path]:
        """The folders of all runs of the sweep that lie here."""
        pattern = re.compile(re.escape(self.folder.name) + r"-trial-\d{4,}(-s\d+)?")
        return sorted(path for path in self.folder.parent.iterdir() if pattern.fullmatch(path.name))
