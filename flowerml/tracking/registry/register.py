"""Register a decision's weights as a model version, and move the aliases `champion` and `previous`."""

import logging
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from flowerml.errors import UserError
from flowerml.events import now_ms
from flowerml.files import file_digest
from flowerml.prediction.delivered import REGISTERED_WEIGHTS, for_delivery
from flowerml.selection.decision import Decision
from flowerml.selection.records import CandidateRun
from flowerml.selection.registration import AliasAction, Verdict, compare_with_champion, compare_with_foreign
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.client.experiments import show_champions
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.pages import artifact_page, run_page
from flowerml.tracking.client.store_client import StoreClient
from flowerml.tracking.delivery.run_models import RunModels
from flowerml.tracking.registry.alias import CHAMPION, list_versions, move_alias, version_by_alias
from flowerml.tracking.registry.pyfunc_model import save_served_model
from flowerml.tracking.registry.registered_model import check_own_model, open_own_model
from flowerml.tracking.registry.version_tags import read_champion, version_description, version_tags
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from flowerml.training.checkpoints.shared_backbone import BackboneMissing

logger = logging.getLogger(__name__)

REGISTERED = {"cnn": "flowers-cnn", "vit": "flowers-vit", "relation": "relations"}


@dataclass(frozen=True)
class Registration:
    """Result of `register`: the version, whether it was created, and the verdict on the champion alias."""

    name: str
    version: str
    created: bool
    verdict: Verdict

    @property
    def summary(self) -> str:
        """The version, and why it is champion or not, as text."""
        new = "registered as" if self.created else "stands already as"
        alias = f" with alias {CHAMPION}" if self.verdict.takes_alias or self.verdict.action is AliasAction.SAME else ""
        return f"{new} {self.name}, version {self.version}{alias}. {self.verdict.words}"


def register(
    decision: Decision,
    family: str,
    *,
    selection_id: str | None = None,
    retrained_id: str | None = None,
    force: bool = False,
) -> Registration:
    """Register the weights of the decision's chosen run, and move the champion alias if they are better.

    `retrained_id` is a final run whose weights are registered instead of the best seed's; `selection_id` the run of
    kind `select` that the model's metrics are logged to. A decision is registered only once, also by several commands
    at the same time. A candidate that is no better than the champion on the same split digest is registered without the
    alias, unless `force`; so is any where a person has put the alias on a version of their own.

    Raises:
        UserError: a family without a registered model, one of this name that is not flowerml's, weights that are
            missing or not those of the run, or the server refuses.
    """
    if family not in REGISTERED:
        raise UserError(f"family {family} has no registered model. Allowed: {', '.join(REGISTERED)}")
    try:
        return _register_decision(StoreClient(), REGISTERED[family], decision, selection_id, retrained_id, force=force)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _register_decision(
    client: MlflowClient,
    name: str,
    decision: Decision,
    selection_id: str | None,
    retrained_id: str | None,
    *,
    force: bool,
) -> Registration:
    if retrained_id is not None:
        _check_final_run(client, retrained_id, decision)
    check_own_model(client, name)
    retrained = retrained_id is not None
    known = {str(version.version) for version in list_versions(client, name)}
    champion = version_by_alias(client, name, CHAMPION)
    judged = _judge(decision, champion, retrained=retrained, force=force)
    if judged.action is AliasAction.SAME:
        assert champion is not None
        return Registration(name, str(champion.version), created=False, verdict=judged)
    version = _find_version(client, name, decision, retrained=retrained)
    created = version is None
    if version is None:
        version = _create_version(client, name, decision, judged, selection_id, retrained_id)
        first = _find_version(client, name, decision, retrained=retrained)
        if first not in (None, version):  # another command has registered the decision meanwhile
            _delete_version(client, name, version)
            version, created = first, False
    if judged.takes_alias:
        judged = move_alias(client, name, version, champion, judged, known)
        _show_champions(client, decision)
    return Registration(name, version, created=created, verdict=judged)


def _show_champions(client: MlflowClient, decision: Decision) -> None:
    """In the description of the experiment whose runs were compared."""
    assert decision.chosen is not None
    found = {name: version_by_alias(client, name, CHAMPION) for name in REGISTERED.values()}
    champions = {name: str(version.version) for name, version in found.items() if version is not None}
    with suppress(MlflowException):  # the version is registered: a description that can't be changed does not undo it
        show_champions(client, str(client.get_run(decision.chosen.run_id).info.experiment_id), champions)


def _judge(decision: Decision, champion: ModelVersion | None, *, retrained: bool, force: bool) -> Verdict:
    """Whether the decision takes the alias from the version that has it."""
    chosen = read_champion(champion)
    if champion is not None and chosen is None:
        return compare_with_foreign(decision, str(champion.version), force=force)
    return compare_with_champion(decision, chosen, retrained=retrained, force=force)


def _check_final_run(client: MlflowClient, run_id: str, decision: Decision) -> None:
    """Raises UserError unless the run is a FINISHED final run of the decision's family."""
    run = client.get_run(run_id)
    kind, family = (run.data.tags.get(f"flowerml.{name}") for name in ("kind", "family"))
    expected = decision.chosen.family if decision.chosen else None
    if (kind, family, run.info.status) != ("final", expected, "FINISHED"):
        raise UserError(
            f"run {run_id} is {run.info.status}, of kind {kind} and family {family}: a FINISHED final run of a"
            f" {expected} is wanted"
        )


def _find_version(client: MlflowClient, name: str, decision: Decision, *, retrained: bool) -> str | None:
    """The first version that was registered for this decision."""
    for version in list_versions(client, name):
        registered = read_champion(version)
        if registered is not None and (registered.key, registered.retrained) == (decision.key, retrained):
            return registered.version
    return None


def _delete_version(client: MlflowClient, name: str, version: str) -> None:
    """Delete a version that this command has created, and its model."""
    model_id = client.get_model_version(name, version).source.removeprefix("models:/")
    client.delete_model_version(name, version)
    client.delete_logged_model(model_id)


def _create_version(
    client: MlflowClient,
    name: str,
    decision: Decision,
    judged: Verdict,
    selection_id: str | None,
    retrained_id: str | None,
) -> str:
    assert decision.chosen is not None
    run_id = retrained_id or decision.chosen.run_id
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = _load_weights(client, run_id, None if retrained_id else decision.chosen, Path(scratch))
        weights = Path(scratch) / REGISTERED_WEIGHTS[str(checkpoint.spec.family)]
        save_checkpoint(weights, checkpoint)
        digest = file_digest(weights)
        logger.info(f"registering {weights.name} of run {run_id[:8]} as {name}")
        tags = version_tags(decision, run_id, digest, retrained=retrained_id is not None)
        model_id = _log_model(client, name, checkpoint, weights, digest, run_id, tags)
    _log_metrics(client, model_id, decision, selection_id or run_id)
    open_own_model(client, name)
    links = _links(client, run_id, decision.chosen.run_id)
    text = f"{decision.words}\n\n{judged.words}\n\n{links}\n\n{version_description(decision)}"
    created = client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, tags=tags, description=text, model_id=model_id
    )
    return str(created.version)


def _links(client: MlflowClient, run_id: str, judged_id: str) -> str:
    """Links to the run whose weights these are, and to what the chosen run got wrong, as Markdown.

    A run that was retrained on everything has no validation photos: the wrong ones are the chosen run's.
    """
    own, judged = (str(client.get_run(one).info.experiment_id) for one in (run_id, judged_id))
    wrong = artifact_page(judged, judged_id, "errors.html")
    return f"[Its run]({run_page(own, run_id)}) · [the pictures that it got wrong]({wrong})"


def _load_weights(client: MlflowClient, run_id: str, chosen: CandidateRun | None, scratch: Path) -> Checkpoint:
    """A run's best.pth, prepared for delivery; that of the chosen run must have the accuracy of the decision."""
    try:
        path = Path(client.download_artifacts(run_id, "best.pth", str(scratch)))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"run {run_id} has no best.pth among its artifacts: it can't be registered ({short_reason(error)})"
        ) from error
    checkpoint = _load_whole(client, run_id, path)
    found = checkpoint.metrics.get("val_accuracy")
    if chosen is not None and (found is None or chosen.accuracy is None or abs(found - chosen.accuracy) > 1e-6):
        raise UserError(
            f"best.pth of run {run_id} says val_accuracy {found}, the run {chosen.accuracy}: these are not the run's"
            " weights"
        )
    return for_delivery(checkpoint)


def _load_whole(client: MlflowClient, run_id: str, path: Path) -> Checkpoint:
    """A downloaded checkpoint, its backbone fetched from the sweep's run where it holds the head alone."""
    try:
        return load_checkpoint(path)
    except BackboneMissing as error:
        sweep_id = client.get_run(run_id).data.tags.get(MLFLOW_PARENT_RUN_ID, run_id)
        with suppress(MlflowException, OSError):  # the first error says more
            client.download_artifacts(sweep_id, error.file_name, str(path.parent))
        return load_checkpoint(path)


def _log_model(
    client: MlflowClient,
    name: str,
    checkpoint: Checkpoint,
    weights: Path,
    digest: str,
    run_id: str,
    tags: Mapping[str, str],
) -> str:
    """Create a logged model of the training run: READY with all its files, or FAILED. Returns its id."""
    experiment = client.get_run(run_id).info.experiment_id
    params = {
        "model": checkpoint.spec.name,
        "architecture": checkpoint.spec.architecture,
        "classes": ",".join(checkpoint.classes),
    }
    logged = client.create_logged_model(
        experiment, name, run_id, tags=dict(tags), params=params, model_type="image classifier"
    )
    try:
        folder = weights.parent / "model"
        save_served_model(folder, weights, digest, checkpoint, run_id, logged.model_id)
        client.log_model_artifacts(logged.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def _log_metrics(client: MlflowClient, model_id: str, decision: Decision, run_id: str) -> None:
    """Log the decision's metrics, linked to the model and to the validation dataset they were measured on."""
    winner, chosen = decision.winner, decision.chosen
    assert winner is not None
    assert chosen is not None
    used = RunModels(client, chosen.run_id)
    # Runs of earlier versions name the whole data folder alone.
    measured_on = used.dataset_of("val_accuracy") or used.dataset_of("train_loss")
    values = {
        "mean_val_accuracy": winner.accuracy.mean,
        "mean_val_macro_f1": winner.macro_f1.mean,
        "chosen_val_accuracy": chosen.accuracy,
        "chosen_val_macro_f1": chosen.macro_f1,
    }
    time = now_ms()
    metrics = [
        Metric(name, value, time, 0, model_id=model_id, run_id=run_id, **measured_on)
        for name, value in values.items()
        if value is not None
    ]
    client.log_batch(run_id, metrics=metrics)
