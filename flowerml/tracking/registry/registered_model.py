"""The registered model of a family: created with flowerml's mark, and somebody else's of the same name refused."""

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.tracking.registry.alias import list_versions
from flowerml.tracking.registry.version_tags import DECISION

_MARK = "flowerml.registry"
_DESCRIPTION = "Champions chosen by `flowerml select`: alias champion, and previous before it."


def check_own_model(client: MlflowClient, name: str) -> None:
    """Check that a registered model of this name, if there is one, is flowerml's: by its mark, description or versions.

    Raises:
        UserError: it is somebody else's.
    """
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        raise
    if _MARK in model.tags or model.description == _DESCRIPTION:  # earlier versions of flowerml left no mark
        return
    if not any(DECISION in version.tags for version in list_versions(client, name)):
        raise UserError(
            f"the registered model {name!r} is not flowerml's: nothing is registered. Rename it, or"
            f" hand it over to flowerml with the tag {_MARK}"
        )


def open_own_model(client: MlflowClient, name: str) -> None:
    """Create the registered model if there is none. Raises UserError if one of this name is somebody else's."""
    try:
        client.create_registered_model(name, tags={_MARK: "true"}, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        check_own_model(client, name)  # it stood, or another command has created it meanwhile
