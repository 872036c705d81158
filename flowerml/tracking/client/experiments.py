"""Experiments: found or created, with what MLflow's pages need to show them as model training."""

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.tracking.client.pages import registry_page, runs_page, version_page, view_page
from flowerml.tracking.client.runs import KIND, NOTE
from flowerml.tracking.client.shared_view import KEY, TAG, best_first

_EXPERIMENT_KIND = "mlflow.experimentKind"  # read by MLflow's pages: which view they open
_FIXED_TAGS = {_EXPERIMENT_KIND: "custom_model_development", TAG: best_first()}


def get_or_create_experiment(client: MlflowClient, name: str, hint: str = "") -> str:
    """The id of an experiment by name, created if there is none. Raises UserError for a deleted one."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            experiment_id = str(client.create_experiment(name, tags=_FIXED_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        else:
            _set_tag(client, experiment_id, NOTE, experiment_note(experiment_id))
            return experiment_id
        experiment = client.get_experiment_by_name(name)  # another process created it meanwhile
    if experiment is None or experiment.lifecycle_stage != "active":
        raise UserError(f"the MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore){hint}")
    _describe(client, experiment)
    return str(experiment.experiment_id)


def show_champions(client: MlflowClient, experiment_id: str, champions: Mapping[str, str]) -> None:
    """Link the description of an experiment to the champions' versions, by registered model.

    One that a person has written, or added to, stays as it is.
    """
    note = client.get_experiment(experiment_id).tags.get(NOTE, "")
    current = experiment_note(experiment_id, champions)
    if note != current and note.partition("\n")[2] == current.partition("\n")[2]:
        client.set_experiment_tag(experiment_id, NOTE, current)


def experiment_note(experiment_id: str, champions: Mapping[str, str] = MappingProxyType({})) -> str:
    """The description of an experiment, Markdown: its first line is what the page shows before it is unfolded.

    `champions` are versions by the name of their registered model.
    """

    def page(kind: str) -> str:
        return runs_page(experiment_id, f"tags.`{KIND}` = '{kind}'")

    links = [f"[{name}]({version_page(name, version)})" for name, version in champions.items()]
    first = f"Champions: {', '.join(links)}" if links else f"[Champions]({registry_page()})"
    return "\n".join(
        [
            (
                f"{first} · [campaigns]({page('campaign')}) · [selections]({page('select')})"
                f" · [training runs, best first]({view_page(experiment_id, KEY)})"
            ),
            "",
            (
                "Each run's page has its scores in words, its curves, and under Artifacts its confusion matrix and"
                " `errors.html` with the pictures it got wrong. A campaign's `report.html` lies under its Artifacts. A"
                " champion is the version with the alias `champion`; its description says why it was chosen."
            ),
            "",
            (
                "The search field above filters by tags, for example"
                " `` tags.`flowerml.campaign` = 'NAME' and tags.`flowerml.phase` = 'B' ``."
            ),
        ]
    )


def describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Give the experiment of a run that `mlflow run` has opened its kind and description, where it lacks them."""
    _describe(client, client.get_experiment(experiment_id))


def _describe(client: MlflowClient, experiment: Experiment) -> None:
    """Add what an experiment of an earlier version, or one created by MLflow, lacks; a user's own text stays."""
    experiment_id = str(experiment.experiment_id)
    for tag, text in {**_FIXED_TAGS, NOTE: experiment_note(experiment_id)}.items():
        if tag not in experiment.tags:
            _set_tag(client, experiment_id, tag, text)


def _set_tag(client: MlflowClient, experiment_id: str, tag: str, text: str) -> None:
    """What a page shows is no reason to fail: for a reader without the right to write, or as another process did it."""
    with suppress(MlflowException):
        client.set_experiment_tag(experiment_id, tag, text)
