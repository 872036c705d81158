"""The MLflow model registry: versions, aliases, decision tags, the served model."""
