"""Runs in a real MLflow store with the tags, metrics and predictions of a training run, without training."""

import csv
import io

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

TOTAL = 100  # validation pictures
DATA, SPLIT = "d" * 64, "5" * 64
CLASSES = "daisy,dandelion,rose,sunflower,tulip"


class RunFactory:
    """Adds runs to the store `mlflow.db` in `folder`, artifacts beside it; each starts 1 ms after the one before."""

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
        recall=None,
        **tags,
    ):
        """Add a run and return its id; further tags as `split_digest=...` (None: without that tag)."""
        self._clock += 1
        fields = {
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
        all_tags = {f"flowerml.{name}": text for name, text in fields.items() if text is not None}
        experiment_id = self.experiment(experiment)
        run_id = self.client.create_run(experiment_id, self._clock, all_tags, f"{config}-s{seed}").info.run_id
        accuracy = hits / TOTAL if isinstance(hits, int) else hits
        values = {
            "best_val_accuracy": accuracy,
            "best_val_macro_f1": f1,
            "best_val_mean_recall": recall,
            "best_epoch": 7.0,
        }
        metrics = [Metric(name, value, self._clock, 7) for name, value in values.items() if value is not None]
        self.client.log_batch(run_id, metrics=metrics)
        if predictions:
            self.client.log_text(run_id, predictions_csv(hits), "predictions.csv")
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id

    def seeds(self, config, *hits, **other):
        """Add a run for each of the seeds 11, 23, 47; returns their ids."""
        return [self.put(config, seed, count, **other) for seed, count in zip((11, 23, 47), hits, strict=False)]


def predictions_csv(hits):
    """predictions.csv with the first `hits` pictures correct."""
    text = io.StringIO()
    rows = [[f"rose/{i:03d}.jpg", "rose", "rose" if i < hits else "tulip", 0.5] for i in range(TOTAL)]
    csv.writer(text).writerows([["image", "label", "predicted", "p_rose"], *rows])
    return text.getvalue()
