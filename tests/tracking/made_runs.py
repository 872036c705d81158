"""Runs put into a real MLflow store by its client, with the tags, figures and predictions that a training leaves, and
nothing trained.
"""

import csv
import io

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

TOTAL = 100  # validation pictures
DATA, SPLIT = "d" * 64, "5" * 64
CLASSES = "daisy,dandelion,rose,sunflower,tulip"


class RunFactory:
    """The store `mlflow.db` in `folder`, where files lie too. Each run starts a millisecond after the one before."""

    def __init__(self, folder):
        self.client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        self._folder = folder
        self._clock = 1_000_000

    def experiment(self, name):
        found = self.client.get_experiment_by_name(name)
        return (
            found.experiment_id if found else self.client.create_experiment(name, (self._folder / "artifacts").as_uri())
        )

    def put(
        self,
        config="a",
        seed=11,
        hits=90,
        *,
        status="FINISHED",
        f1=0.5,
        experiment="flowers",
        predictions=False,
        **tags,
    ):
        """One run; further tags as `split_digest=...` (None leaves the tag out). Returns its id."""
        self._clock += 1
        said = {
            "kind": "train",
            "family": "cnn",
            "model": "net",
            "config_id": config,
            "seed": str(seed),
            "data_digest": DATA,
            "split_digest": SPLIT,
            "classes": CLASSES,
            "val_total": str(TOTAL),
            **tags,
        }
        all_tags = {f"flowerml.{name}": text for name, text in said.items() if text is not None}
        where = self.experiment(experiment)
        run_id = self.client.create_run(where, self._clock, all_tags, f"{config}-s{seed}").info.run_id
        accuracy = hits / TOTAL if isinstance(hits, int) else hits
        figures = {"best_val_accuracy": accuracy, "best_val_macro_f1": f1, "best_epoch": 7.0}
        metrics = [Metric(name, value, self._clock, 7) for name, value in figures.items() if value is not None]
        self.client.log_batch(run_id, metrics=metrics)
        if predictions:
            self.client.log_text(run_id, predictions_csv(hits), "predictions.csv")
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id

    def seeds(self, config, *hits, **other):
        """A run for each of the seeds 11, 23, 47. Returns their ids."""
        return [self.put(config, seed, count, **other) for seed, count in zip((11, 23, 47), hits, strict=False)]


def predictions_csv(hits):
    """The first `hits` of the pictures are right."""
    text = io.StringIO()
    rows = [[f"rose/{i:03d}.jpg", "rose", "rose" if i < hits else "tulip", 0.5] for i in range(TOTAL)]
    csv.writer(text).writerows([["image", "label", "predicted", "p_rose"], *rows])
    return text.getvalue()
