"""docker/compose.yaml as the real Compose reads it; no daemon is needed for that."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
PASSWORD = "p@ss:w/rd%2F"


def compose_command():
    """Compose as a plugin (version 2 on) or as a program (Debian's version 1); None without either."""
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60).returncode == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def without_what_version_1_lacks(folder):
    """A copy of compose.yaml without the two keys that Compose 1 does not know."""
    read = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    del read["name"]
    for volume in read["services"]["train"]["volumes"]:
        if isinstance(volume, dict):
            del volume["bind"]
    path = folder / "compose.yaml"
    path.write_text(yaml.safe_dump(read))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Runs `config` of the Compose that is here, with an environment of its own; gives the finished process."""
    folder = tmp_path_factory.mktemp("compose")
    command = compose_command()
    if command is None:
        pytest.skip("no Docker Compose on this machine (Debian: apt-get install docker-compose)")
    shown = subprocess.run([*command, "version"], capture_output=True, text=True, timeout=60).stdout
    first = without_what_version_1_lacks(folder) if re.search(r"\bversion v?1\.", shown) else DOCKER / "compose.yaml"
    nothing = folder / "empty.env"
    nothing.write_text("")

    def run(*words, overlays=(), env_file=nothing, **environment):
        files = [word for path in (first, *(DOCKER / name for name in overlays)) for word in ("-f", str(path))]
        where = ["--project-directory", str(DOCKER), "--env-file", str(env_file)]
        env = {
            name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
        } | environment  # HOME: where plugins may be
        line = [*command, *where, *files, *words, "config"]
        return subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, timeout=60)

    return run


def services(done):
    """What `config` printed, where it did."""
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.fixture(scope="module")
def everything(config):
    """All services, `train` and its GPU with them."""
    return services(config("--profile", "train", overlays=["compose.gpu.yaml"], POSTGRES_PASSWORD=PASSWORD))


@pytest.fixture(scope="module")
def plain(config):
    """What `up` starts, and nothing set but the password."""
    return services(config(POSTGRES_PASSWORD=PASSWORD))


@pytest.fixture(scope="module")
def changed(config):
    """All services, with every other variable set that the files read."""
    variables = {"MLFLOW_PORT": "5055", "FLOWERML_DATA": "/photos", "TORCH_BACKEND": "cpu"}
    return services(config("--profile", "train", POSTGRES_PASSWORD=PASSWORD, **variables))


def published(service):
    """(address, port outside, port inside) of each published port, as either Compose writes them."""
    found = []
    for port in service.get("ports", ()):
        address, outside, inside = (
            (port.get("host_ip", "any"), port["published"], port["target"])
            if isinstance(port, dict)
            else port.split(":")
        )
        found.append((address, int(outside), int(str(inside).removesuffix("/tcp"))))
    return found


def mounted(service):
    """{folder inside: (source, is read-only)}, as either Compose writes it."""
    found = {}
    for volume in service.get("volumes", ()):
        if isinstance(volume, dict):
            found[volume["target"]] = (volume["source"], volume.get("read_only", False))
        else:
            source, target, *mode = volume.split(":")
            found[target] = (source, mode == ["ro"])
    return found


@pytest.mark.parametrize("environment", [{}, {"POSTGRES_PASSWORD": ""}])
def test_without_a_password_nothing_starts_and_the_message_says_what_to_do(config, environment):
    done = config(**environment)
    assert done.returncode != 0
    assert "POSTGRES_PASSWORD is not set" in done.stderr
    assert "docker/.env" in done.stderr


def test_up_starts_the_server_and_its_database_only(plain):
    assert {name for name, service in plain.items() if not service.get("profiles")} == {"postgres", "mlflow"}


def test_published_on_loopback_only(everything, changed):
    ports = {name: published(service) for name, service in everything.items()}
    assert ports == {"postgres": [], "mlflow": [("127.0.0.1", 5000, 5000)], "train": []}
    assert published(changed["mlflow"]) == [("127.0.0.1", 5055, 5000)], "another port outside changes nothing inside"


def test_the_password_reaches_both_and_stands_in_no_command(everything):
    """In an address `@`, `:`, `/` and `%` would have to be escaped, and the process list would show it."""
    assert everything["postgres"]["environment"]["POSTGRES_PASSWORD"] == PASSWORD
    assert everything["mlflow"]["environment"]["PGPASSWORD"] == PASSWORD
    assert PASSWORD not in json.dumps([service.get("command") for service in everything.values()])
    assert PASSWORD not in json.dumps(everything["train"])


@pytest.mark.parametrize(
    "password", [PASSWORD, "a # b", "$HOME$x$", 'say "yes"', "it's", "back\\slash", " spaces ", "#first", "a=b;c&d"]
)
def test_any_password_in_single_quotes_in_the_env_file_is_taken_as_it_is(config, tmp_path, password):
    """As docs/guides/team-server.md says; without quotes ` #` cuts it and `$` replaces a part of it."""
    quoted = password.replace("'", "\\'")
    (tmp_path / ".env").write_text(f"POSTGRES_PASSWORD='{quoted}'\n")
    found = services(config(env_file=tmp_path / ".env"))
    # `config` writes a dollar sign twice, so that its output can be read again.
    assert found["postgres"]["environment"]["POSTGRES_PASSWORD"].replace("$$", "$") == password.replace("$$", "$")
    assert found["mlflow"]["environment"]["PGPASSWORD"] == found["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_each_waits_for_the_health_of_what_it_needs(everything):
    needs = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in everything.items()
    }
    assert needs == {"postgres": {}, "mlflow": {"postgres": "service_healthy"}, "train": {"mlflow": "service_healthy"}}
    assert "/health" in str(everything["mlflow"]["healthcheck"]["test"])
    assert "pg_isready" in everything["postgres"]["healthcheck"]["test"]


def test_training_reports_to_the_server_by_a_name_the_server_accepts(everything):
    assert everything["train"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    (hosts,) = [word.split("=")[1] for word in everything["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    assert hosts.split(",") == ["mlflow:5000", "localhost:*", "127.0.0.1:*"]


def test_services_nobody_asked_for_are_off(everything):
    environment = {name: value for name, value in everything["mlflow"]["environment"].items() if name != "PGPASSWORD"}
    assert environment == {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def test_store_names_the_driver(everything):
    """`postgresql://` alone takes another driver under SQLAlchemy 2.1, which is not installed."""
    assert "--backend-store-uri=postgresql+psycopg2://mlflow@postgres:5432/mlflow" in everything["mlflow"]["command"]


def test_pictures_are_read_only_and_results_are_in_volumes(everything, changed):
    assert mounted(everything["train"]) == {
        "/data": (str(ROOT / "data"), True),
        "/opt/flowerml/.git": (str(ROOT / ".git"), True),
        "/work/runs": ("runs", False),
        "/home/flowerml/.cache": ("cache", False),
    }
    assert mounted(changed["train"])["/data"] == ("/photos", True)


def test_the_gpu_is_an_overlay(everything, changed):
    (device,) = everything["train"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["device_ids"], device["capabilities"]) == ("nvidia", ["0"], ["gpu"])
    assert "deploy" not in changed["train"]


def test_a_cpu_image_does_not_take_the_place_of_the_gpu_image(everything, changed):
    assert [service["train"]["build"]["args"]["TORCH_BACKEND"] for service in (everything, changed)] == ["cu130", "cpu"]
    assert (
        changed["train"]["image"]
        == everything["train"]["image"].replace("cu130", "cpu")
        != everything["train"]["image"]
    )


def test_a_training_hears_that_it_is_to_stop_and_has_room_for_its_loaders(everything):
    """Process 1 gets no SIGTERM unless it asked for it; loaders need more shared memory than Docker's 64 MB."""
    assert everything["train"]["init"] is True
    assert str(everything["train"]["shm_size"]) in ("2gb", str(2 * 1024**3))
