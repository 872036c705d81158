"""Registered models: a decision's weights as a version, and who holds the aliases `champion` and `previous`."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.events import now_ms
from flowerml.files import file_digest
from flowerml.prediction.delivered import REGISTERED_WEIGHTS, for_delivery
from flowerml.selection.decision import Decision
from flowerml.selection.records import CandidateRun
from flowerml.selection.registration import AliasAction, Verdict, compare_with_champion
from flowerml.tracking.client.errors import short_reason, to_user_error
from flowerml.tracking.registry.pyfunc_model import save_served_model
from flowerml.tracking.registry.version_tags import champion_of, description, version_tags
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

REGISTERED = {"cnn": "flowers-cnn", "vit": "flowers-vit", "relation": "relations"}
CHAMPION, PREVIOUS = "champion", "previous"


@dataclass(frozen=True)
class Registration:
    """What became of a decision in the registry: its version, whether that is new, and the verdict about the alias."""

    name: str
    version: str
    created: bool
    verdict: Verdict

    @property
    def words(self) -> str:
        """For people: the version, and why it is champion or not."""
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
    """Register the chosen run's weights of a decision that has a winner, and give the alias to whom it belongs.

    `retrained_id` names the final run whose weights stand in for the best seed's; `selection_id` is the run of kind
    `select` that the model's metrics are logged on. A decision that has a version gets no second one. A candidate that
    is no better than the champion within one split digest is registered without the alias, unless `force`.

    Raises:
        UserError: a family without a registered model, weights that are not there or not those of the run, or a
            refusing server.
    """
    if family not in REGISTERED:
        raise UserError(f"family {family} has no registered model. Allowed: {', '.join(REGISTERED)}")
    try:
        return _register(MlflowClient(), REGISTERED[family], decision, selection_id, retrained_id, force=force)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _register(
    client: MlflowClient,
    name: str,
    decision: Decision,
    selection_id: str | None,
    retrained_id: str | None,
    *,
    force: bool,
) -> Registration:
    if retrained_id is not None:
        _require_final(client, retrained_id, decision)
    standing = _by_alias(client, name, CHAMPION)
    judged = compare_with_champion(decision, champion_of(standing), retrained=retrained_id is not None, force=force)
    if judged.action is AliasAction.SAME:
        assert standing is not None
        return Registration(name, str(standing.version), created=False, verdict=judged)
    version = _existing(client, name, decision, retrained=retrained_id is not None)
    created = version is None
    if version is None:
        version = _create(client, name, decision, judged, selection_id, retrained_id)
    if judged.takes_alias:
        if standing is not None:
            client.set_registered_model_alias(name, PREVIOUS, standing.version)
        client.set_registered_model_alias(name, CHAMPION, version)
    return Registration(name, version, created=created, verdict=judged)


def _require_final(client: MlflowClient, run_id: str, decision: Decision) -> None:
    """Raises UserError where a run is no FINISHED final one of the decision's family."""
    run = client.get_run(run_id)
    kind, family = (run.data.tags.get(f"flowerml.{name}") for name in ("kind", "family"))
    wanted = decision.chosen.family if decision.chosen else None
    if (kind, family, run.info.status) != ("final", wanted, "FINISHED"):
        raise UserError(
            f"run {run_id} is {run.info.status}, of kind {kind} and family {family}: a FINISHED final run of a {wanted}"
            " is wanted"
        )


def _by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no such model; no such alias
            return None
        raise


def _existing(client: MlflowClient, name: str, decision: Decision, *, retrained: bool) -> str | None:
    """The newest version of this very decision."""
    for version in sorted(client.search_model_versions(f"name = '{name}'"), key=lambda one: -int(one.version)):
        found = champion_of(version)
        if found is not None and (found.key, found.retrained) == (decision.key, retrained):
            return str(version.version)
    return None


def _create(
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
        checkpoint = _weights_of(client, run_id, None if retrained_id else decision.chosen, Path(scratch))
        weights = Path(scratch) / REGISTERED_WEIGHTS[str(checkpoint.spec.family)]
        save_checkpoint(weights, checkpoint)
        digest = file_digest(weights)
        logger.info(f"registering {weights.name} of run {run_id[:8]} as {name}")
        tags = version_tags(decision, run_id, digest, retrained=retrained_id is not None)
        model_id = _log_model(client, name, checkpoint, weights, digest, run_id, tags)
    _log_metrics(client, model_id, decision, selection_id or run_id)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(
            name, description="Champions chosen by `flowerml select`: alias champion, and previous before it."
        )
    text = f"{decision.words}\n\n{judged.words}\n\n{description(decision)}"
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, tags=tags, description=text, model_id=model_id
    )
    return str(made.version)


def _weights_of(client: MlflowClient, run_id: str, chosen: CandidateRun | None, scratch: Path) -> Checkpoint:
    """The delivered form of a run's best.pth; of a chosen run it must be the weights whose accuracy the decision speaks
    of.
    """
    try:
        path = Path(client.download_artifacts(run_id, "best.pth", str(scratch)))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"run {run_id} has no best.pth among its artifacts: it can't be registered ({short_reason(error)})"
        ) from error
    checkpoint = load_checkpoint(path)
    found = checkpoint.metrics.get("val_accuracy")
    if chosen is not None and (found is None or chosen.accuracy is None or abs(found - chosen.accuracy) > 1e-6):
        raise UserError(
            f"best.pth of run {run_id} says val_accuracy {found}, the run {chosen.accuracy}: these are not the run's"
            " weights"
        )
    return for_delivery(checkpoint)


def _log_model(
    client: MlflowClient,
    name: str,
    checkpoint: Checkpoint,
    weights: Path,
    digest: str,
    run_id: str,
    tags: Mapping[str, str],
) -> str:
    """A logged model of the training's run: READY with all its files, or FAILED."""
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
    """The decision's figures, tied to the model and to the validation data they were measured on."""
    winner, chosen = decision.winner, decision.chosen
    assert winner is not None
    assert chosen is not None
    data = next((one.dataset for one in client.get_run(chosen.run_id).inputs.dataset_inputs), None)
    values = {
        "mean_val_accuracy": winner.accuracy.mean,
        "mean_val_macro_f1": winner.macro_f1.mean,
        "chosen_val_accuracy": chosen.accuracy,
        "chosen_val_macro_f1": chosen.macro_f1,
    }
    where = {"dataset_name": data.name, "dataset_digest": data.digest} if data else {}
    time = now_ms()
    metrics = [
        Metric(name, value, time, 0, model_id=model_id, run_id=run_id, **where)
        for name, value in values.items()
        if value is not None
    ]
    client.log_batch(run_id, metrics=metrics)
