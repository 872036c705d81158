"""Import what writing a run to MLflow needs, in a fork server that starts many runs."""

from importlib import import_module

# In order of use. MLflow imports most of these lazily, when a store is opened.
_MODULES = (
    "mlflow.store.db.utils",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.artifact.local_artifact_repo",
    "sqlalchemy.dialects.sqlite",
    "mlflow.tracking.context.git_context",
    "git",
    "mlflow.utils.name_utils",
    "mlflow.genai.scorers",
)


def preload() -> None:
    """Import the modules. Opens no store and starts no thread, so that forking stays safe."""
    for name in _MODULES:
        import_module(name)
