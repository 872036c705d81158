"""deploy/kubernetes: what Compose has too is the same there; valid by the schemas, where a package has them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.project.lock import VERSIONS
from tests.tracking.compose_server import SERVICE, interpolated

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
MANIFESTS = [
    manifest
    for name in ("postgres.yaml", "server.yaml", "ray.yaml")
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]
NAMES = [f"{one['kind']} {one['metadata']['name']}" for one in MANIFESTS]
USER = 10001


def found(kind, name):
    (manifest,) = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return manifest


@pytest.fixture
def server():
    """The pod of the tracking server."""
    return found("Deployment", "mlflow")["spec"]["template"]["spec"]


@pytest.fixture
def ray():
    """The pods of the Ray cluster: head and workers."""
    spec = found("RayCluster", "flowerml")["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def container(pod):
    (one,) = pod["containers"]
    return one


def environment(pod):
    return {one["name"]: one["value"] for one in container(pod)["env"]}


def test_kinds():
    assert NAMES == [
        "Service postgres",
        "Service mlflow",
        "PersistentVolumeClaim mlflow-artifacts",
        "Deployment mlflow",
        "PersistentVolumeClaim flowerml-runs",
        "PersistentVolumeClaim flowerml-photos",
        "RayCluster flowerml",
    ]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=NAMES)
def test_valid_against_the_schemas_of_kubernetes(manifest):
    """Unknown fields too. KubeRay's kind is in no package."""
    validate = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate is not installed")
    if manifest["apiVersion"].startswith("ray.io/"):
        pytest.skip("the schema of a RayCluster is in no package")
    validate.validate(manifest, "1.32", strict=True)


def test_kustomize_reads_them():
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {one["kind"] for one in built} == {"Service", "PersistentVolumeClaim", "Deployment"}
    (deployment,) = [one for one in built if one["kind"] == "Deployment"]
    image = container(deployment["spec"]["template"]["spec"])["image"]
    assert image == f"registry.example.org/{SERVICE['image']}"


class TestServer:
    """The service `mlflow` of compose.yaml."""

    NAME = "mlflow.example.org"

    def test_command_and_environment_are_those_of_compose(self, server):
        named = [re.sub(r"\$\{SERVER_NAME:-[^}]*\}", self.NAME, word) for word in SERVICE["command"]]
        assert container(server)["args"] == [interpolated(word) for word in named]
        assert container(server)["image"] == SERVICE["image"]
        expected = {name: value for name, value in SERVICE["environment"].items() if value is not None}
        assert environment(server) == expected

    def test_every_secret_is_mounted_where_the_environment_names_it(self, server):
        (secret,) = [volume["secret"] for volume in server["volumes"] if "secret" in volume]
        (mount,) = [one for one in container(server)["volumeMounts"] if one["name"] == "secrets"]
        assert (secret["secretName"], mount["mountPath"]) == ("flowerml", "/run/secrets")
        assert secret["defaultMode"] == 0o440, "read by the group, which is that of the pod"
        files = {value for name, value in environment(server).items() if name.endswith("_FILE")}
        assert files == {f"/run/secrets/{name}" for name in SERVICE["secrets"]}

    def test_what_is_written_to_is_a_volume(self, server):
        mounts = {one["mountPath"] for one in container(server)["volumeMounts"]}
        written = {volume.split(":")[1] for volume in SERVICE["volumes"]} | set(SERVICE["tmpfs"])
        assert mounts == written | {"/run/secrets"}
        assert {one["name"] for one in server["volumes"]} == {one["name"] for one in container(server)["volumeMounts"]}
        assert container(server)["securityContext"]["readOnlyRootFilesystem"] is True
        (claim,) = [
            one["persistentVolumeClaim"]["claimName"] for one in server["volumes"] if "persistentVolumeClaim" in one
        ]
        assert found("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"]
        assert found("Deployment", "mlflow")["spec"]["strategy"] == {"type": "Recreate"}

    def test_the_service_finds_the_pod_and_its_port(self, server):
        service, deployment = found("Service", "mlflow")["spec"], found("Deployment", "mlflow")["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert deployment["selector"]["matchLabels"] == service["selector"] == labels
        (port,), (inside,) = service["ports"], container(server)["ports"]
        assert (port["targetPort"], port["port"]) == (inside["name"], inside["containerPort"])
        assert f"--port={inside['containerPort']}" in container(server)["args"]

    def test_health_is_asked_for_as_in_compose(self, server):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container(server)[probe]["httpGet"] == {"path": "/health", "port": "http"}
        assert "/health" in str(SERVICE["healthcheck"]["test"])

    def test_the_database_is_reached_by_the_name_that_the_command_has(self):
        database = found("Service", "postgres")["spec"]
        assert database["type"] == "ExternalName"
        assert "@postgres:5432/" in " ".join(SERVICE["command"])
        assert "@postgres:5432/" in (ROOT / "docker" / "auth.ini").read_text()


def test_pods_are_restricted(server, ray):
    """As the profile `restricted` of Kubernetes has it; the numbered user of the images owns the volumes."""
    for pod in (server, *ray):
        assert pod["automountServiceAccountToken"] is False
        # MLFLOW_PORT=tcp://…, which Kubernetes would set for a service of that name, is read by MLflow.
        assert pod["enableServiceLinks"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert [context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")] == [USER] * 3
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        own = container(pod)["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
    assert f"USER {USER}" in (ROOT / "docker" / "Dockerfile").read_text()


class TestRay:
    """The cluster for campaigns."""

    def test_image_and_version_are_those_of_the_project(self, ray):
        image = f"registry.example.org/{interpolated(COMPOSE['train']['image'])}"
        assert [container(pod)["image"] for pod in ray] == [image] * 2
        assert found("RayCluster", "flowerml")["spec"]["rayVersion"] == VERSIONS["ray"]

    def test_runs_report_to_the_server_with_its_log_in(self, ray):
        for pod in ray:
            expected = {
                "MLFLOW_TRACKING_URI": COMPOSE["train"]["environment"]["MLFLOW_TRACKING_URI"],
                "MLFLOW_TRACKING_USERNAME": "admin",
                "MLFLOW_TRACKING_PASSWORD_FILE": "/run/secrets/admin_password",
            }
            assert environment(pod) == expected
            (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
            assert secret["items"] == [{"key": "admin_password", "path": "admin_password"}], "and no other secret"

    def test_all_share_the_folder_of_the_runs(self, ray):
        assert found("PersistentVolumeClaim", "flowerml-runs")["spec"]["accessModes"] == ["ReadWriteMany"]
        for pod in ray:
            claims = {
                one["name"]: one["persistentVolumeClaim"]["claimName"]
                for one in pod["volumes"]
                if "persistentVolumeClaim" in one
            }
            mounts = {one["mountPath"]: one["name"] for one in container(pod)["volumeMounts"]}
            assert claims[mounts["/work/runs"]] == "flowerml-runs"
            assert claims[mounts["/data"]] == "flowerml-photos"
            assert mounts["/dev/shm"] == "shm"

    def test_the_command_starts_ray_by_the_images_own_path(self, ray):
        """KubeRay itself takes a login shell, which sets another PATH; its checks still do, so the image mends it."""
        annotations = found("RayCluster", "flowerml")["metadata"]["annotations"]
        assert annotations == {"ray.io/overwrite-container-cmd": "true"}
        for pod in ray:
            assert container(pod)["command"] == ["/bin/bash", "-c", "--"]
            assert container(pod)["args"][0].endswith("$KUBERAY_GEN_RAY_START_CMD")
        dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
        assert "/etc/profile.d/" in dockerfile
        assert " git wget " in dockerfile

    def test_runs_are_for_the_workers(self, ray):
        spec = found("RayCluster", "flowerml")["spec"]
        assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
        limits = [container(pod)["resources"]["limits"].get("nvidia.com/gpu") for pod in ray]
        assert limits == [None, "1"]
