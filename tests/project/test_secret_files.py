"""docker/secrets.sh makes the files of compose.yaml, docker/with-secrets reads them in a container."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).resolve().parents[2] / "docker"
SECRETS = ("postgres_password", "admin_password", "session_key")


class TestSecretFiles:
    """The script that makes them, and the one that reads them in a container."""

    @pytest.fixture
    def script(self, tmp_path):
        """secrets.sh in a folder of its own."""
        shutil.copy(DOCKER / "secrets.sh", tmp_path)

        def run():
            done = subprocess.run(["sh", tmp_path / "secrets.sh"], capture_output=True, text=True, timeout=10)
            assert done.returncode == 0, done.stderr
            return {name: (tmp_path / "secrets" / name).read_text() for name in SECRETS}, done.stdout

        return run

    def test_they_are_random_and_stay(self, script, tmp_path):
        first, said = script()
        assert said == f"The account is admin, its password is in {tmp_path}/secrets/admin_password\n"
        assert len({*first.values()}) == len(SECRETS)
        assert all(re.fullmatch(r"[\w-]{44}\n", text) for text in first.values())
        assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == sorted(SECRETS)
        (tmp_path / "secrets" / "session_key").write_text("")
        again, _ = script()
        assert {name for name in SECRETS if again[name] != first[name]} == {"session_key"}

    def test_only_the_owner_gets_at_them_and_a_container_can_read_each(self, script, tmp_path):
        """Compose mounts a file with the owner it has here, which is not the user in the container."""
        script()
        assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
        assert {stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) for name in SECRETS} == {0o644}

    @staticmethod
    def start(**environment):
        """What a program finds in its environment behind `with-secrets`, and what was said."""
        show = "import json, os; print(json.dumps(dict(os.environ)))"
        command = [DOCKER / "with-secrets", sys.executable, "-c", show]
        return subprocess.run(command, env=environment | {"PATH": os.environ["PATH"]}, capture_output=True, text=True)

    @pytest.mark.parametrize(
        "text",
        ["p@ss:w/rd%2F", "a # b", "$HOME$x$`id`", 'say "yes"', "it's", "back\\slash", " spaces ", "*", "a=b;c&d"],
    )
    def test_any_content_arrives_as_it_is(self, tmp_path, text):
        (tmp_path / "file").write_text(f"{text}\n")
        done = self.start(PGPASSWORD_FILE=str(tmp_path / "file"))
        assert json.loads(done.stdout)["PGPASSWORD"] == text

    @pytest.mark.parametrize("name", ["nix", "empty"])
    def test_a_server_without_a_password_does_not_start(self, tmp_path, name):
        (tmp_path / "empty").write_text("\n")
        done = self.start(MLFLOW_AUTH_ADMIN_PASSWORD_FILE=str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"error: MLFLOW_AUTH_ADMIN_PASSWORD_FILE names {tmp_path / name}, which is empty or can't be read: run"
            " docker/secrets.sh, and leave its files readable for all\n"
        )

    def test_what_has_no_file_is_left_as_it_is(self):
        found = json.loads(self.start(MLFLOW_TRACKING_PASSWORD="given").stdout)
        assert found["MLFLOW_TRACKING_PASSWORD"] == "given"
        assert "PGPASSWORD" not in found
