"""Tags of where a run comes from: user, Git commit, and the command that was typed."""

import os

from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from flowerml.process.environment import COMMAND


def source_tags() -> dict[str, str]:
    """MLflow's own tags of a new run; its source is the command (`flowerml train`), or a program that calls flowerml.

    MLflow would name the file of the process, which in a campaign is a module of the fork server.
    """
    command = os.environ.get(COMMAND)
    return {**resolve_tags(), **({MLFLOW_SOURCE_NAME: command} if command else {})}
