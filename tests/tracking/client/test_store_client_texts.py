"""Texts that no store takes are escaped on their way to MLflow, wherever they go."""

import os

from mlflow.entities import Param, RunTag

from flowerml.tracking.client.connection import connect

ODD = os.fsdecode(b"ros\xe9 \x00\x1b[31m") + " 🌻 two\nlines\t"
STORED = "ros\\udce9 \\x00\\x1b[31m 🌻 two\nlines\t"


def test_a_run_takes_any_text(tmp_path):
    client = connect()
    run = client.create_run("0", tags={"given": ODD}, run_name=ODD)
    client.log_batch(run.info.run_id, params=[Param("p", ODD)], tags=[RunTag("batch", ODD)])
    client.set_tag(run.info.run_id, "mlflow.note.content", ODD)
    data = client.get_run(run.info.run_id).data
    assert data.params == {"p": STORED.rstrip()} or data.params == {"p": STORED}
    assert {data.tags[name] for name in ("given", "batch", "mlflow.note.content")} == {STORED}
    client.update_run(run.info.run_id, name=f"new {ODD}")
    assert client.get_run(run.info.run_id).info.run_name == f"new {STORED}"


def test_a_model_version_takes_any_description(tmp_path):
    client = connect()
    model = client.create_logged_model("0", "m", tags={"t": ODD}, params={"p": ODD})
    client.create_registered_model("m")
    version = client.create_model_version("m", f"models:/{model.model_id}", tags={"t": ODD}, description=ODD)
    assert (version.description, version.tags["t"]) == (STORED, STORED)
    assert client.get_logged_model(model.model_id).tags["t"] == STORED
