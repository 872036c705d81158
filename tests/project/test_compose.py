"""docker/compose.yaml as the real Compose reads it; no daemon is needed for that."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.tracking.compose_server import SERVICE, interpolated

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
ALL = ("--profile", "train", "--profile", "tls", "--profile", "backup")
SECRETS = ("postgres_password", "admin_password", "session_key")


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
    for service in read["services"].values():
        for volume in service.get("volumes", ()):
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
    return services(config(*ALL, overlays=["compose.gpu.yaml"]))


@pytest.fixture(scope="module")
def plain(config):
    """What `up` starts, and nothing set."""
    return services(config())


@pytest.fixture(scope="module")
def changed(config):
    """All services, with every other variable set that the files read."""
    variables = {
        "MLFLOW_PORT": "5055",
        "FLOWERML_DATA": "/photos",
        "TORCH_BACKEND": "cpu",
        "ARTIFACTS": "s3://bucket/flowers",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "s3 secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "MLFLOW_S3_ENDPOINT_URL": "https://s3.example.org",
        "SERVER_NAME": "lab.example.org",
        "HTTPS_PORT": "8443",
        "BACKUPS": "/srv/backups",
        "MLFLOW_TRACKING_USERNAME": "ana",
        "TRACKING_PASSWORD_FILE": "/home/ana/password",
        "TLS_CERTIFICATE": "/tls/lab.pem",
        "TLS_KEY": "/tls/lab.key",
    }
    overlays = ["compose.certificate.yaml"]
    return services(config(*ALL, overlays=overlays, **variables))


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


def test_up_starts_the_server_and_its_database_only(plain):
    assert {name for name, service in plain.items() if not service.get("profiles")} == {"postgres", "mlflow"}


def test_the_server_is_published_on_loopback_only_and_the_proxy_for_others(everything, changed):
    ports = {name: published(service) for name, service in everything.items()}
    assert ports.pop("proxy")[0][1:] == (443, 443)
    assert ports == {"postgres": [], "mlflow": [("127.0.0.1", 5000, 5000)], "train": [], "backup": []}
    assert published(changed["mlflow"]) == [("127.0.0.1", 5055, 5000)], "another port outside changes nothing inside"
    assert published(changed["proxy"])[0][1:] == (8443, 443)


def secrets_of(service):
    """The names of a service's secrets, as either Compose writes them."""
    return sorted(one if isinstance(one, str) else one["source"] for one in service.get("secrets", ()))


def test_secrets_are_files_that_reach_who_needs_them(config, everything):
    """In no command and no environment: the process list and `docker inspect` would show them."""
    assert {name: secrets_of(service) for name, service in everything.items()} == {
        "postgres": ["postgres_password"],
        "mlflow": sorted(SECRETS),
        "proxy": [],
        "train": ["tracking_password"],
        "backup": ["postgres_password"],
    }
    files = yaml.safe_load(config().stdout)["secrets"]
    assert {name: Path(about["file"]) for name, about in files.items()} == {
        **{name: DOCKER / "secrets" / name for name in SECRETS},
        "tracking_password": DOCKER / "secrets" / "admin_password",
    }
    for name, service in everything.items():
        for variable, value in service["environment"].items():
            if "PASSWORD" in variable or "SECRET" in variable:
                assert value is None or value.startswith("/run/secrets/"), variable
                assert value is None or value.removeprefix("/run/secrets/") in secrets_of(service), (name, variable)


def test_a_training_logs_in_as_who_was_named(everything, changed, config):
    assert everything["train"]["environment"]["MLFLOW_TRACKING_USERNAME"] == "admin"
    assert changed["train"]["environment"]["MLFLOW_TRACKING_USERNAME"] == "ana"
    done = config(TRACKING_PASSWORD_FILE="/home/ana/password")
    assert yaml.safe_load(done.stdout)["secrets"]["tracking_password"]["file"] == "/home/ana/password"


def test_the_server_asks_for_name_and_password(everything):
    assert "--app-name=basic-auth" in everything["mlflow"]["command"]
    login = configparser.ConfigParser()
    login.read(DOCKER / "auth.ini")
    assert dict(login["mlflow"]) == {
        "default_permission": "EDIT",
        "database_uri": "postgresql+psycopg2://mlflow@postgres:5432/mlflow",
        "admin_username": "admin",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "60",
    }


def test_the_command_is_the_one_that_the_tests_of_the_server_start(plain):
    assert plain["mlflow"]["command"] == [interpolated(word) for word in SERVICE["command"]]


def test_artifacts_are_in_a_volume_or_in_a_bucket(everything, changed):
    assert "--artifacts-destination=/mlflow/artifacts" in everything["mlflow"]["command"]
    assert "--artifacts-destination=s3://bucket/flowers" in changed["mlflow"]["command"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "MLFLOW_S3_ENDPOINT_URL")
    found = [changed["mlflow"]["environment"][name] for name in names]
    assert found == ["key", "s3 secret", "eu-west-1", "https://s3.example.org"]
    # Not even as empty texts, which would be an address: Compose leaves out what has no value.
    assert {everything["mlflow"]["environment"].get(name) for name in names} == {None}


def test_the_proxy_serves_the_name_and_the_server_accepts_it(everything, changed):
    assert everything["proxy"]["environment"] == {"SERVER_NAME": "localhost", "TLS": "internal"}
    certificate = "/run/secrets/tls_certificate /run/secrets/tls_key"
    assert changed["proxy"]["environment"] == {"SERVER_NAME": "lab.example.org", "TLS": certificate}
    assert secrets_of(changed["proxy"]) == ["tls_certificate", "tls_key"]
    options = dict(word.split("=", 1) for word in changed["mlflow"]["command"] if "=" in word)
    assert {"lab.example.org", "lab.example.org:*"} <= {*options["--allowed-hosts"].split(",")}
    assert options["--cors-allowed-origins"] == "https://lab.example.org,https://lab.example.org:8443"
    caddy = (DOCKER / "Caddyfile").read_text()
    assert set(re.findall(r"\{\$(\w+)\}", caddy)) == set(everything["proxy"]["environment"])
    assert "reverse_proxy mlflow:5000" in caddy


def test_a_certificate_has_to_be_named(config):
    for variables, line in (({}, "TLS_CERTIFICATE is not set"), ({"TLS_CERTIFICATE": "/a"}, "TLS_KEY is not set")):
        done = config("--profile", "tls", overlays=["compose.certificate.yaml"], **variables)
        assert done.returncode != 0
        assert line in done.stderr


def test_a_backup_is_of_what_the_server_keeps(everything, changed):
    backup, server = everything["backup"], everything["mlflow"]
    assert backup["image"] == server["image"]
    store = backup["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert f"--backend-store-uri={store}" in server["command"]
    assert mounted(backup) == {
        "/mlflow/artifacts": mounted(server)["/mlflow/artifacts"],
        "/backups": (str(ROOT / "backups"), False),
    }
    assert mounted(changed["backup"])["/backups"][0] == "/srv/backups"
    assert backup["entrypoint"] == ["with-secrets", "python", "-m", "flowerml.cli.main"]


def test_containers_that_can_write_to_volumes_and_memory_only(everything):
    assert {name for name, service in everything.items() if service.get("read_only")} == {"mlflow", "proxy"}
    assert list(everything["mlflow"]["tmpfs"]) == ["/tmp"]
    assert mounted(everything["mlflow"]) == {
        "/mlflow/artifacts": ("artifacts", False),
        "/mlflow/uploads": ("uploads", False),
    }


def test_each_waits_for_the_health_of_what_it_needs(everything):
    needs = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in everything.items()
    }
    on_server = {"mlflow": "service_healthy"}
    on_database = {"postgres": "service_healthy"}
    expected = {"postgres": {}, "mlflow": on_database, "train": on_server, "proxy": on_server, "backup": on_database}
    assert needs == expected
    assert "/health" in str(everything["mlflow"]["healthcheck"]["test"])
    assert "pg_isready" in everything["postgres"]["healthcheck"]["test"]


def test_training_reports_to_the_server_by_a_name_the_server_accepts(everything):
    assert everything["train"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    (hosts,) = [word.split("=")[1] for word in everything["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    assert hosts.split(",") == ["mlflow:5000", "localhost:*", "127.0.0.1:*", "localhost", "localhost:*"]


def test_services_nobody_asked_for_are_off(everything):
    environment = everything["mlflow"]["environment"]
    off = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    assert {name: environment[name] for name in off} == off


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


def test_each_file_that_a_variable_names_is_read(everything):
    """A name that the script does not know would be a server without that secret."""
    known = re.search(r"for name in (.*); do", (DOCKER / "with-secrets").read_text())[1].split()
    for service in ("mlflow", "train", "backup"):
        named = [name for name in everything[service]["environment"] if name.endswith("_FILE")]
        assert named
        assert {name.removesuffix("_FILE") for name in named} <= {*known}
