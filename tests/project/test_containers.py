"""docker/ without a daemon: what the images are made of, and what compose.yaml takes from them."""

import ast
import fnmatch
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flowerml
from tests.project.lock import VERSIONS

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# s3fs reads photos, which the server does not.
EXTRA = [Requirement(text) for name in ("server", "s3") for text in EXTRAS[name] if not text.startswith("s3fs")]
FILES = [path for path in sorted(DOCKER.iterdir()) if path.is_file() and path.name != ".env"]


def stages():
    """The Dockerfile's stages by name, in order, each a list of (instruction, rest of its line)."""
    found: dict[str, list[tuple[str, str]]] = {}
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (DOCKER / "Dockerfile").read_text()))
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            found[rest.split(" AS ")[1]] = current = []
        current.append((word, rest))
    return found


STAGES = stages()


class TestComposeAndImages:
    """compose.yaml and the images fit together."""

    SERVICES = COMPOSE["services"]

    def test_every_image_has_a_pinned_tag(self):
        images = [service["image"] for service in self.SERVICES.values()]
        own = [image for image in images if image.startswith("flowerml-")]
        assert [image for image in images if not re.fullmatch(r"[a-z-]+:[0-9].*", image) or "latest" in image] == []
        assert [image for image in own if image.split(":")[1].split("-")[0] != flowerml.__version__] == []

    @pytest.mark.parametrize("name", ["mlflow", "train"])
    def test_built_from_a_stage_of_the_dockerfile(self, name):
        build = self.SERVICES[name]["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert build["target"] in STAGES

    def test_health_is_asked_for_as_in_the_image(self):
        ((_, check),) = [line for line in STAGES["server"] if line[0] == "HEALTHCHECK"]
        asked = self.SERVICES["mlflow"]["healthcheck"]
        assert ["CMD", *json.loads(check.split("CMD", 1)[1])] == asked["test"]
        for name in ("interval", "timeout", "retries"):
            assert f"--{name}={asked[name]}" in check.split()
        assert f"--start-period={asked['start_period']}" in check.split()

    def test_volumes_cover_folders_that_the_images_own_user_owns(self):
        """A new volume takes its owner from the folder under it: one that is not in the image would be root's."""
        for service, stage in (("mlflow", "server"), ("train", "train")):
            made = " ".join(rest for word, rest in STAGES[stage] if word == "RUN")
            volumes = [
                v for v in self.SERVICES[service]["volumes"] if isinstance(v, str) and not v.startswith(("..", "/"))
            ]
            assert volumes
            assert re.search(r"install --directory --owner=flowerml --group=flowerml ", made)
            assert [v for v in volumes if v.split(":")[1] not in made.split()] == []


class TestDockerfile:
    """Pinned, small, no root, nothing secret."""

    @pytest.mark.parametrize("name", STAGES)
    def test_stage_starts_from_a_pinned_image_or_another_stage(self, name):
        source = STAGES[name][0][1].split(" AS ")[0]
        assert source in STAGES or re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", source)

    @pytest.mark.parametrize("name", ["server", "train"])
    def test_runs_as_a_numbered_user_that_is_not_root(self, name):
        """By number, so that a cluster that forbids root can tell."""
        words = [word for word, _ in STAGES[name]]
        ((_, user),) = [line for line in STAGES[name] if line[0] == "USER"]
        assert int(user) > 999
        assert f"--uid {user} " in dict(STAGES["base"])["RUN"]
        assert set(words[words.index("USER") + 1 :]) <= {"EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}

    def test_commands(self):
        assert [json.loads(dict(STAGES[name])["ENTRYPOINT"]) for name in ("server", "train")] == [
            ["with-secrets", "mlflow"],
            ["with-secrets", "flowerml"],
        ]
        assert list(STAGES)[-1] == "train", "what `docker build` makes when no target is named"

    def test_every_installation_is_held_to_the_lock(self):
        runs = [rest for lines in STAGES.values() for word, rest in lines if word == "RUN"]
        for run in runs:
            if "uv pip install" in run:
                assert "--constraints requirements.lock" in run
            elif "pip " in run:
                assert r"sed -n 's/^\(uv==" in run or {"--no-index", "--no-deps"} <= set(run.split())

    def test_no_caches_stay(self):
        """uv works in stages of its own, without one; pip and apt leave nothing."""
        assert "UV_NO_CACHE=1" in dict(STAGES["tools"])["ENV"]
        for name in ("server", "train"):
            for run in [rest for word, rest in STAGES[name] if word == "RUN"]:
                assert "uv " not in run
                assert ("apt-get install" in run) <= ("rm -rf /var/lib/apt/lists/*" in run)
                assert ("pip " in run) <= ("--no-cache-dir" in run)

    def test_code_is_copied_after_everything_that_takes_long(self):
        """A changed line of code must not download PyTorch anew."""
        copies = [(name, rest) for name, lines in STAGES.items() for word, rest in lines if word == "COPY"]
        assert [copy for copy in copies if copy[1].startswith(". ")] == [copies[-1]] == [("train", ". /opt/flowerml")]
        after = [
            rest
            for word, rest in STAGES["train"][STAGES["train"].index(("COPY", ". /opt/flowerml")) + 1 :]
            if word == "RUN"
        ]
        assert len(after) == 1
        assert "--no-index" in after[0]

    def test_an_unknown_backend_is_refused_by_name(self):
        """The very lines of the Dockerfile, in a shell, with a `uv` that says what it is asked."""
        ((_, line),) = [line for line in STAGES["train-environment"] if line[0] == "RUN"]
        say = 'uv() { echo "$@"; }; '
        asked = {}
        for backend in ("cu130", "cpu", "cuda"):
            done = subprocess.run(
                ["sh", "-c", say + line], env={"TORCH_BACKEND": backend}, capture_output=True, text=True, timeout=10
            )
            asked[backend] = (done.returncode, done.stdout.split(), done.stderr)
        common = [
            "--constraints",
            "requirements.lock",
            "--requirements",
            "pyproject.toml",
            "--extra",
            "ray",
            "setuptools",
        ]
        assert asked["cu130"] == (0, ["pip", "install", *common], "")
        assert asked["cpu"] == (0, ["pip", "install", "--torch-backend=cpu", "--no-verify-hashes", *common], "")
        assert asked["cuda"][0] == 2
        assert "TORCH_BACKEND=cuda is unknown. Allowed: cu130, cpu" in asked["cuda"][2]

    def test_the_server_is_mlflow_and_its_extra(self):
        (run,) = [rest for word, rest in STAGES["server-environment"] if word == "RUN"]
        asked = shlex.split(run)[5:]
        assert asked == ["mlflow", *(requirement.name for requirement in EXTRA), "psutil", "rich"]
        assert {"boto3", "botocore", "jmespath", "s3transfer"} <= set(VERSIONS)
        if importlib.util.find_spec("boto3") is None:  # an extra, which `make setup` installs with the lock
            asked.remove("boto3")
        assert needed(asked) <= set(VERSIONS)
        assert not needed(asked) & {"torch", "timm", "triton", "ray"}

    @pytest.mark.slow
    def test_a_backup_needs_no_package_that_the_servers_image_lacks(self):
        """In the image there is no torch: the commands must not import it, nor anything else that is not installed."""
        show = "import sys, flowerml.cli.commands.server.backup, flowerml.tracking.backup.restore; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, timeout=120)
        loaded = done.stdout.split()
        assert "torch" not in loaded
        imported = {name for module in loaded if module.startswith("flowerml") for name in imports_of(module)}
        known = metadata.packages_distributions()
        packages = {canonicalize_name(known[name][0]) for name in imported | {"rich"} if name in known}
        (run,) = [rest for word, rest in STAGES["server-environment"] if word == "RUN"]
        assert {"sqlalchemy", "pydantic", "rich"} <= packages
        assert packages <= needed([name for name in shlex.split(run)[5:] if name != "boto3"])
        assert ("COPY", "flowerml /opt/flowerml/flowerml") in STAGES["server"]

    def test_the_programs_for_a_backup_are_of_the_databases_version(self):
        (image,) = re.findall(r"postgres:(\d+)-", COMPOSE["services"]["postgres"]["image"])
        installed = " ".join(rest for word, rest in STAGES["server"] if word == "RUN")
        assert f"postgresql-client-{image} " in installed

    @pytest.mark.parametrize("requirement", EXTRA, ids=str)
    def test_the_extra_is_locked(self, requirement):
        assert requirement.specifier.contains(VERSIONS[requirement.name])


def imports_of(module):
    """The packages that a module of flowerml imports at once, without those in its functions."""
    parts = ROOT.joinpath(*module.split("."))
    path = parts / "__init__.py" if parts.is_dir() else parts.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name.split(".")[0] for name in names if not name.startswith("flowerml"))


def needed(names):
    """What these packages need, directly and indirectly, as installed here."""
    found, waiting = set(), [(canonicalize_name(name), "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), extra) for extra in ("", *requirement.extras)]
    return {name for name, _ in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_address_of_a_package_index(path):
    assert not re.search(r"(?i)index-url|--index\b|find-links|pypi|whl/|pythonhosted|ghcr\.io", path.read_text())


class TestContext:
    """What a build sees."""

    PATTERNS = tuple(
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    )

    def kept_out(self, path):
        """Docker's rule for the kinds of pattern in this file: from the root, `**/` at any depth, a folder with all in
        it.
        """
        steps = [path, *(parent.as_posix() for parent in Path(path).parents)]
        for pattern in self.PATTERNS:
            for step in steps:
                if fnmatch.fnmatchcase(
                    Path(step).name if pattern.startswith("**/") else step, pattern.removeprefix("**/")
                ):
                    return True
        return False

    @pytest.mark.parametrize(
        "path",
        [
            ".git/config",
            ".venv/bin/python",
            "data/train/a.jpg",
            "runs/x/best.pth",
            "mlflow.db",
            "mlruns/0",
            "docker/.env",
            "docker/secrets/admin_password",
            "a/b.pth",
        ],
    )
    def test_stays_out(self, path):
        assert self.kept_out(path)

    def test_no_tracked_file_stays_out(self):
        """In the image git compares code and commit: a missing file would make a clean checkout look changed."""
        done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            pytest.skip("this is no git checkout")
        tracked = done.stdout.splitlines()
        assert "flowerml/data/scan.py" in tracked
        assert [path for path in tracked if self.kept_out(path)] == []

    def test_files_with_secrets_are_not_committed(self):
        assert {".env", "secrets/"} <= {*(DOCKER / ".gitignore").read_text().splitlines()}

    def test_what_the_images_start_with_can_be_executed(self):
        assert (DOCKER / "with-secrets").stat().st_mode & 0o111
        assert ("COPY", "docker/with-secrets /usr/local/bin/") in STAGES["base"]
