"""Everything that writing a run to MLflow imports on its way, for a process that is forked for many runs."""

from importlib import import_module

# In the order in which they are needed. MLflow imports most of this only when a store of the kind is opened.
_MODULES = (
    *(
        "mlflow.store.db.utils",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
    ),
    *("mlflow.store.tracking.rest_store", "mlflow.store.artifact.local_artifact_repo", "sqlalchemy.dialects.sqlite"),
    *("mlflow.tracking.context.git_context", "git", "mlflow.utils.name_utils", "mlflow.genai.scorers"),
)


def preload() -> None:
    """Import it all. Opens no store, starts no thread."""
    for name in _MODULES:
        import_module(name)
