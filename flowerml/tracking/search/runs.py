"""Runs of an experiment by kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flowerml.tracking.client.runs import KIND
from flowerml.tracking.client.store_client import StoreClient


@dataclass(frozen=True)
class RunRecord:
    """A run at the server; metrics are the last values, `seconds` its duration, None while it runs."""

    run_id: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    seconds: float | None


def create_experiment(name: str, artifacts: Path) -> None:
    """Create an experiment whose artifacts are stored in a local folder."""
    StoreClient().create_experiment(name, artifact_location=artifacts.resolve().as_uri())


def runs_of_kind(experiment: str, kind: str) -> list[RunRecord]:
    """The runs of an experiment with the tag `flowerml.kind` = `kind`, oldest first; [] if there is no experiment."""
    client = StoreClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs(
        [found.experiment_id], f"tags.`{KIND}` = '{kind}'", order_by=["attributes.start_time ASC"]
    )
    return [
        RunRecord(
            run_id=run.info.run_id,
            status=run.info.status,
            params=run.data.params,
            metrics=run.data.metrics,
            tags=run.data.tags,
            seconds=None if run.info.end_time is None else (run.info.end_time - run.info.start_time) / 1000,
        )
        for run in runs
    ]


def search_all_experiments(client: MlflowClient, condition: str) -> list[Run]:
    """The active runs of all experiments that meet a filter, oldest first. Raises what MLflow raises."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs
