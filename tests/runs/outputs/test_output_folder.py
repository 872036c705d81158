"""The output folder of a run: its default name, and what --overwrite replaces."""

import pytest

from flowerml.errors import UserError
from flowerml.runs.lifecycle.run_file import RUN_FILES, check_available
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.runs.conftest import SMALL
from tests.runs.test_train import ON_DISK, history


def test_a_finished_run_is_never_overwritten_unasked(small_run, train_small):
    finished, _ = small_run
    before = {path.name: path.read_bytes() for path in finished.folder.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"holds the finished run of just these settings.*--overwrite") as caught:
        train_small(dropout=0.2, output_dir=str(finished.folder))
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="holds a run of other settings"):
        train_small(dropout=0.3, output_dir=str(finished.folder))
    assert {path.name: path.read_bytes() for path in finished.folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", RUN_FILES)
def test_somebody_elses_file_of_a_runs_name_is_not_overwritten_unasked(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"holds a {name} of unknown origin: .*--output-dir.*--overwrite"):
        check_available(tmp_path, "c" * 64, 11, {}, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    assert check_available(tmp_path, "c" * 64, 11, {}, overwrite=True) is None


@pytest.mark.slow
def test_overwrite_replaces_a_run(train_small):
    first, _ = train_small(epochs=1, warmup_epochs=0)
    second, _ = train_small(epochs=2, output_dir=str(first.folder), overwrite=True)
    assert len(history(second.folder)) == 2


@pytest.mark.slow
def test_overwrite_takes_only_what_runs_leave(train_small, tmp_path):
    """Also where a run has been before: `--output-dir .` must not cost anybody's files."""
    mine = tmp_path / "mine"
    (mine / "eval_val").mkdir(parents=True)
    (mine / "thesis.txt").write_text("years")
    (mine / "eval_val" / "notes.txt").write_text("months")
    for epochs in (1, 2):
        train_small(epochs=epochs, warmup_epochs=0, output_dir=str(mine), overwrite=True)
    assert (mine / "thesis.txt").read_text() == "years"
    assert (mine / "eval_val" / "notes.txt").read_text() == "months"
    assert len(history(mine)) == 2


def test_overwrite_knows_every_file_of_a_run(small_run):
    """A new artifact that is not in the list would outlive the run it belongs to."""
    of_other_tasks = {"baselines.json", "baselines.md", "checks.txt"}
    of_many_pictures = {"calibration.json", "calibration.png"}
    assert ON_DISK | {"run.json", "bad_images.txt"} | of_other_tasks | of_many_pictures == set(RUN_FILES)


def test_default_folder_names_model_configuration_and_seed(train_small, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    finished, _ = train_small(output_dir="auto", epochs=1, warmup_epochs=0)
    assert str(finished.folder) == f"runs/timm-test_convnext2-{finished.config_id[:8]}-s11"


def test_overwrite_loses_nothing_when_the_new_run_can_not_begin(train_small, flowers):
    finished, _ = train_small(epochs=1, warmup_epochs=0)
    before = {
        path.relative_to(finished.folder): path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()
    }
    settings, _ = resolve({**SMALL, "train_dir": str(flowers), "output_dir": str(finished.folder), "overwrite": True})

    def refuse(*_):
        raise UserError("the MLflow tracking store does not answer")

    with pytest.raises(UserError, match="does not answer"):
        run_training(settings, refuse)
    assert {
        path.relative_to(finished.folder): path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()
    } == before


def test_an_output_folder_that_can_not_be_made_is_refused_before_a_run_is_opened(flowers, tmp_path):
    (tmp_path / "file").write_text("")
    settings, _ = resolve({**SMALL, "train_dir": str(flowers), "output_dir": str(tmp_path / "file" / "out")})
    opened = []
    with pytest.raises(UserError, match="can't write") as caught:
        run_training(settings, lambda *_: opened.append(1))
    assert opened == []
    assert "\n" not in str(caught.value)
