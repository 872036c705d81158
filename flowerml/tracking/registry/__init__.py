"""The MLflow model registry: register and fetch versions, aliases, version tags, the pyfunc model."""
