"""The environment variables of MLflow that choose where events go, above all those that `mlflow run` sets."""
