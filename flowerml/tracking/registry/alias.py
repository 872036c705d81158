"""The aliases `champion` and `previous` of a registered model, moved so that commands at the same time agree."""

from collections.abc import Collection

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.selection.registration import AliasAction, Champion, Verdict, champion_in_turn
from flowerml.tracking.registry.version_tags import read_champion

CHAMPION, PREVIOUS = "champion", "previous"


def version_by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that has the alias; None for no such model or alias."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def list_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions, by number."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def move_alias(
    client: MlflowClient,
    name: str,
    version: str,
    champion: ModelVersion | None,
    judged: Verdict,
    known: Collection[str],
) -> Verdict:
    """Give `champion` to a version that takes it, and `previous` to the one that had it. Returns the final verdict.

    MLflow has no transaction over versions and aliases: so those that were registered meanwhile (their numbers are not
    in `known`) are looked for before and after, and judged in the order of their numbers, by each command alike.
    """
    forced = version if judged.action is AliasAction.FORCED else ""
    holder = None
    while (found := _champion_in_turn(client, name, version, champion, forced, known)) != holder:
        holder = found
        earlier = version if int(holder) > int(version) else None if champion is None else str(champion.version)
        if earlier is not None:
            client.set_registered_model_alias(name, PREVIOUS, earlier)
        client.set_registered_model_alias(name, CHAMPION, holder)
    if holder == version:
        return judged
    words = f"Version {holder} was registered at the same time and has the alias: it is better, or of another split."
    return Verdict(AliasAction.KEEP, words)


def _champion_in_turn(
    client: MlflowClient, name: str, version: str, champion: ModelVersion | None, forced: str, known: Collection[str]
) -> str:
    """The number of the version that has the alias, all that are new considered."""
    new: list[Champion] = []
    for found in list_versions(client, name):
        number, decision = str(found.version), read_champion(found)
        if decision is not None and (number == version or number not in known):
            new.append(decision)
    holder = champion_in_turn(read_champion(champion), new, forced)
    return version if holder is None else holder.version
