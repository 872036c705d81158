"""Under `mlflow run` relative paths are the caller's, where the script's own folder would lose or mistake them."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.tracking import TrackedRuns
from tests.cli.test_commands import call
from tests.conftest import ROOT

LAUNCHER = """
    import subprocess, sys  # in the place of `mlflow run`: a Python program whose folder is the caller's
    sys.exit(subprocess.run(["bash", "-c", sys.argv[1] + "; exit $?"], cwd=sys.argv[2]).returncode)
"""
SCRIPT = (
    "import os, logging; from flowerml.log import configure_logging; configure_logging();"
    "from flowerml.cli.launcher import adopt_launcher_paths; adopt_launcher_paths();"
    "print(os.getcwd(), os.environ.get('MLFLOW_TRACKING_URI'))"
)


@pytest.fixture
def launched(tmp_path):
    """A function that runs the script as `mlflow run` does: called in `here`, run in the project's folder."""
    (tmp_path / "here").mkdir()

    def launched(project, uri, **environment):
        project.mkdir()
        (project / "MLproject").write_text("name: x\n")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LAUNCHER), f'{sys.executable} -c "{SCRIPT}"', str(project)],
            cwd=tmp_path / "here",
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(tmp_path),
                "MLFLOW_RUN_ID": "0" * 32,
                "MLFLOW_TRACKING_URI": uri,
                **environment,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return *done.stdout.split(), done.stderr

    return launched


def test_a_relative_store_is_the_one_that_mlflow_run_has_used(launched, tmp_path):
    (tmp_path / "here" / "rel.db").write_text("")
    (tmp_path / "here" / "sub").mkdir()
    (tmp_path / "here" / "sub" / "b.db").write_text("")
    project = tmp_path / "project"
    cwd, uri, stderr = launched(project, "sqlite:///rel.db")
    assert (cwd, uri) == (str(project), f"sqlite:///{tmp_path / 'here' / 'rel.db'}")
    assert stderr == (
        f"relative paths are those of {project}, where `mlflow run` starts the project; from {tmp_path / 'here'} name"
        " whole paths (-P output_dir=/…, -P train_dir=/…)\n"
    )
    _, uri, _ = launched(tmp_path / "other", "sqlite:///sub/b.db?timeout=9")
    assert uri == f"sqlite:///{tmp_path / 'here' / 'sub' / 'b.db'}?timeout=9"


@pytest.mark.parametrize("uri", ["sqlite:////x/y.db", "http://127.0.0.1:1", "sqlite:///not-there.db", "sqlite://"])
def test_any_other_store_stays_as_it_is(launched, tmp_path, uri):
    assert launched(tmp_path / "project", uri)[1] == uri


def test_without_mlflow_run_nothing_changes(launched, tmp_path):
    (tmp_path / "here" / "rel.db").write_text("")
    project = tmp_path / "tmp0123"
    assert launched(project, "sqlite:///rel.db", MLFLOW_RUN_ID="") == (str(project), "sqlite:///rel.db", "")


def test_outputs_of_a_temporary_copy_go_to_the_callers_folder(launched, tmp_path):
    here = tmp_path / "here"
    cwd, _, stderr = launched(tmp_path / "tmp0123", "http://127.0.0.1:1")
    assert cwd == str(here)
    assert stderr == f"relative paths are those of {here}, where `mlflow run` was called\n"


def test_a_store_that_lacks_the_run_is_not_created(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///rel.db")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(UserError, match=rf"The address is relative, so that it is {tmp_path}/rel.db here: give the"):
        TrackedRuns()
    assert not (tmp_path / "rel.db").exists()


@pytest.mark.slow
def test_mlflow_run_of_an_archive_leaves_everything_with_the_caller(flowers, tmp_path, monkeypatch):
    """A project that is fetched, a relative store, relative outputs and photos."""
    repository, here = tmp_path / "repository", tmp_path / "here"
    kept = ("MLproject", "conda.yaml", "entrypoints", "flowerml", "pyproject.toml")
    for name in kept:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        repository.mkdir(exist_ok=True)
        copy(source, repository / name)
    archive = shutil.make_archive(str(tmp_path / "project"), "zip", repository)
    here.mkdir()
    (here / "photos").symlink_to(flowers)
    settings = {
        "model": "convnextv2_atto",
        "weights": "none",
        "img_size": "32",
        "epochs": "1",
        "batch_size": "8",
        "workers": "0",
        "train_dir": "photos",
        "output_dir": "out",
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///rel.db")
    words = [word for name, value in settings.items() for word in ("-P", f"{name}={value}")]
    done = call(
        "mlflow", "run", f"file://{archive}", "-e", "train", "--env-manager=local", *words,
        cwd=here,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (here / "out" / "best.pth").is_file()
    client = MlflowClient(f"sqlite:///{here / 'rel.db'}")
    (run,) = client.search_runs(["0"])
    assert (run.info.status, run.data.tags["flowerml.kind"]) == ("FINISHED", "train")
