"""`flowerml sweep` with a model and pictures that are small enough to search with."""

from mlflow.tracking import MlflowClient

SMALL = [
    *("--model", "timm:test_convnext2", "--weights", "none", "--img-size", "32"),
    *("--epochs", "2", "--warmup-epochs", "0"),
    *("--freeze-backbone-epochs", "0", "--batch-size", "16", "--data-workers", "0", "--device", "cpu"),
]


def sweep_args(flowers, root, *more):
    """What is typed behind `flowerml`."""
    return ["sweep", *SMALL, "--train-dir", str(flowers), "--runs-root", str(root), *more]


def runs_of(kind):
    """The runs of a kind, in all experiments of the test's own store."""
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`flowerml.kind` = '{kind}'")
