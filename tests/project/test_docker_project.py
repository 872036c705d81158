"""docker/project, which `mlflow run` starts in a container: read by MLflow, up to the command that Docker gets."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mlflow.projects._project_spec import load_project
from mlflow.projects.backend.local import _get_docker_command
from mlflow.projects.utils import get_entry_point_command

ROOT = Path(__file__).resolve().parents[2]
SERVICE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["train"]
OWN = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]["train"]


@pytest.fixture
def project():
    return load_project(str(ROOT / "docker" / "project"))


def test_the_image_and_its_volumes_are_those_of_compose(project):
    image, backend = SERVICE["image"].split("${TORCH_BACKEND:-")
    assert project.docker_env["image"] == image + backend.rstrip("}")
    volumes = [volume for volume in SERVICE["volumes"] if isinstance(volume, str) and not volume.startswith("..")]
    assert project.docker_env["volumes"] == [f"flowerml_{volume}" for volume in volumes]
    assert ["MLFLOW_TRACKING_PASSWORD_FILE", SERVICE["environment"]["MLFLOW_TRACKING_PASSWORD_FILE"]] in (
        project.docker_env["environment"]
    )


def test_its_parameters_are_those_of_the_project(project):
    """But for the photos, which are mounted."""
    read = yaml.safe_load((ROOT / "docker" / "project" / "MLproject").read_text())["entry_points"]["train"]
    assert read["parameters"] | {"train_dir": None} == OWN["parameters"] | {"train_dir": None}
    assert read["command"].removeprefix("flowerml train") == OWN["command"].removeprefix("python entrypoints/train.py")


def test_what_docker_gets(project, monkeypatch):
    """The command of docs/guides/team-server.md: `with-secrets` is the entry point, and there is no password in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ana")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a secret word")
    page = (ROOT / "docs" / "guides" / "team-server.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"(?m)^mlflow run docker/project .*", page)
    words = shlex.split(line)
    options = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-A")
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="7" * 32, experiment_id="1", artifact_uri="mlflow-artifacts:/1/7")
    )
    environment = project.docker_env["environment"]
    image = SimpleNamespace(tags=[project.docker_env["image"]])
    docker = _get_docker_command(image, run, options, project.docker_env["volumes"], environment)
    command = shlex.split(get_entry_point_command(project, "train", {"model": "clip_vitl14", "epochs": "2"}, None)[0])
    assert docker[docker.index("--entrypoint") + 1] == "with-secrets"
    assert docker[docker.index("--network") + 1] == "host"
    assert docker[docker.index("--volume") + 1].endswith(
        "/docker/secrets/admin_password:/run/secrets/tracking_password:ro"
    )
    assert "target=/data,readonly" in docker[docker.index("--mount") + 1]
    assert {
        f"MLFLOW_RUN_ID={'7' * 32}",
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        "MLFLOW_TRACKING_USERNAME=ana",
    } <= {*docker}
    assert docker[-1] == project.docker_env["image"]
    assert "a secret word" not in " ".join(docker)
    assert command[:4] == ["flowerml", "train", "--model", "clip_vitl14"]
    assert command[-2:] == ["--epochs", "2"]
