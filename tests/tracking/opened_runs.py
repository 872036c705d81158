"""What `mlflow run` does before it starts the script: it opens a run with its project tags and names it to it."""

PROJECT_TAGS = {
    "mlflow.source.type": "PROJECT",
    "mlflow.project.entryPoint": "train",
    "mlflow.project.backend": "local",
    "mlflow.project.env": "virtualenv",
}


def open_run(client, monkeypatch, params=(), experiment="0", name="bold-crow-123"):
    """Open a run as `mlflow run` does, with each parameter logged as raw text, and name it to this process."""
    run_id = client.create_run(experiment, run_name=name, tags=PROJECT_TAGS).info.run_id
    for key, text in dict(params).items():
        client.log_param(run_id, key, text)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return run_id
