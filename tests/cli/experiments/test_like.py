"""`flowerml train --like RUN_ID`: the settings and the `config_id` of another run, and what is refused in one line."""

import json
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.given_settings import difference_from, repeated_settings, resolve_over
from flowerml.cli.main import main
from flowerml.errors import UserError
from flowerml.runs.prepare import prepare
from flowerml.settings import Settings, resolve
from flowerml.settings.identity import identity_values
from flowerml.settings.serialization import as_params, values_from_params
from flowerml.tracking import find_training_run
from tests.settings.samples import COMPLETE, DIGESTS

FLAGS = (
    "--model timm:test_convnext2 --weights none --img-size 32 --epochs 1 --warmup-epochs 0 --freeze-backbone-epochs 0"
    " --batch-size 16 --lr-head 3e-3 --workers 0"
)
MISSING = "0" * 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory, flowers, empty_store):
    """A colleague's run: its folder, with the store beside it, and what `--json` printed."""
    folder = tmp_path_factory.mktemp("colleague")
    shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        words = ["--train-dir", str(flowers), "--output-dir", "theirs", "--run-name", "their name"]
        assert main(["train", *FLAGS.split(), *words, "--experiment", "theirs", "--overwrite", "--seed", "5"]) == 0
    run = json.loads((folder / "theirs" / "run.json").read_text())
    return folder, run["run_id"], run["config_id"]


@pytest.fixture
def run_id(trained, tmp_path, monkeypatch):
    """The id of that run in this test's own copy of the store."""
    shutil.copy(trained[0] / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return trained[1]


def settings_like(run_id, **flags):
    like = find_training_run(run_id)
    return resolve_over(repeated_settings(like, flags), "--like", flags)[0]


class TestRepeat:
    def test_trains_the_same_configuration_in_a_place_of_its_own(self, run_id, trained, capsys):
        assert main(["train", "--like", run_id, "--seed", "23", "--json"]) == 0
        shown = capsys.readouterr()
        result = json.loads(shown.out)
        assert result["config_id"] == trained[2]
        assert result["folder"] == f"runs/timm-test_convnext2-{trained[2][:8]}-s23"
        assert "not the same" not in shown.err
        run = MlflowClient().get_run(result["run_id"])
        assert run.data.tags["flowerml.like"] == run_id
        assert run.data.params["lr_head"] == "0.003"
        assert MlflowClient().get_experiment(run.info.experiment_id).name == "flowers"

    def test_settings_are_its_own_but_for_its_place(self, run_id, trained, flowers):
        settings = settings_like(run_id)
        theirs = Settings.model_validate(json.loads((trained[0] / "theirs/settings.json").read_text())["settings"])
        place = {"output_dir", "run_name", "experiment", "overwrite", "device", "workers", "compile"}
        assert {name for name in Settings.model_fields if getattr(settings, name) != getattr(theirs, name)} == place
        assert (settings.train_dir, settings.seed, settings.overwrite) == (str(flowers), 5, False)

    def test_flags_win(self, run_id):
        settings = settings_like(run_id, lr_head="1e-2", train_dir="here", epochs="3")
        assert (settings.lr_head, settings.train_dir, settings.epochs, settings.img_size) == (1e-2, "here", 3, 32)

    def test_another_model_has_its_own_input_description(self, run_id):
        assert settings_like(run_id).mean is not None
        settings = settings_like(run_id, model="timm:test_vit")
        assert (settings.mean, settings.std, settings.interpolation, settings.crop_pct) == (None,) * 4

    def test_first_characters_are_enough(self, run_id):
        assert find_training_run(run_id[:6]).run_id == run_id

    def test_params_stand_in_for_a_settings_json_that_cannot_be_had(self, run_id, trained):
        exact = find_training_run(run_id)
        assert "weights" in exact.digests
        artifacts = MlflowClient().get_run(run_id).info.artifact_uri.removeprefix("file://")
        shutil.move(artifacts, f"{artifacts}.away")
        try:
            found = find_training_run(run_id)
        finally:
            shutil.move(f"{artifacts}.away", artifacts)
        assert found.settings == exact.settings
        assert found.digests == {name: exact.digests[name] for name in ("data", "split")}

    def test_prints_as_a_file_that_gives_the_same_settings(self, run_id, tmp_path, capsys):
        assert main(["train", "--like", run_id, "--print-config"]) == 0
        (tmp_path / "like.yaml").write_text(capsys.readouterr().out)
        assert main(["train", "--config", "like.yaml", "--print-config"]) == 0
        assert capsys.readouterr().out == (tmp_path / "like.yaml").read_text()


class TestDifferences:
    def test_none_where_the_data_are_the_same(self, run_id):
        assert difference_from(find_training_run(run_id), prepare(settings_like(run_id)), {}) == ""

    def test_data_and_split_that_differ_are_named(self, run_id, flowers, tmp_path):
        shutil.copytree(flowers, tmp_path / "fewer")
        next((tmp_path / "fewer" / "rose").iterdir()).unlink()
        flags = {"train_dir": str(tmp_path / "fewer")}
        like, run = find_training_run(run_id), prepare(settings_like(run_id, **flags))
        line = difference_from(like, run, flags)
        assert line.startswith(f"not the same as run {run_id} (--like): data {like.digests['data'][:8]} there, ")
        assert f"; split {like.digests['split'][:8]} there, {run.shared_split_digest[:8]} here; config_id " in line
        assert "weights" not in line

    def test_a_split_alone(self, run_id):
        flags = {"split_seed": "7"}
        line = difference_from(find_training_run(run_id), prepare(settings_like(run_id, **flags)), flags)
        assert "(--like): split " in line
        assert "data" not in line

    def test_weights_alone(self, run_id, trained):
        flags = {"weights": str(trained[0] / "theirs" / "best.pth")}
        line = difference_from(find_training_run(run_id), prepare(settings_like(run_id, **flags)), flags)
        assert "(--like): weights none there, " in line

    def test_a_setting_that_was_given_needs_no_words(self, run_id):
        flags = {"lr_head": "0.1"}
        assert difference_from(find_training_run(run_id), prepare(settings_like(run_id, **flags)), flags) == ""

    def test_another_id_without_a_reason_that_can_be_seen(self, run_id):
        MlflowClient().set_tag(run_id, "flowerml.config_id", "f" * 64)
        line = difference_from(find_training_run(run_id), prepare(settings_like(run_id)), {})
        assert line.startswith(f"not the same as run {run_id} (--like): config_id ffffffff there, ")

    def test_the_command_says_it_in_one_warning(self, run_id, flowers, tmp_path, capsys):
        shutil.copytree(flowers, tmp_path / "fewer")
        next((tmp_path / "fewer" / "rose").iterdir()).unlink()
        assert main(["train", "--like", run_id, "--train-dir", "fewer", "--runs-root", "mine"]) == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: not the same")]
        assert len(warnings) == 1


class TestSettingsOfOtherRuns:
    """Runs made with the tags, params and files of trainings, without training."""

    def put(self, made, settings=None, **tags):
        run_id = made.put(**tags)
        for name, text in as_params(COMPLETE).items():
            made.client.log_param(run_id, name, text)
        if settings is not None:
            identity = identity_values(COMPLETE, DIGESTS)
            made.client.log_dict(run_id, {"settings": settings, "identity": identity}, "settings.json")
        return run_id

    def test_a_running_one(self, made):
        run_id = self.put(made, COMPLETE.model_dump(mode="json"), status="RUNNING")
        assert find_training_run(run_id).settings == COMPLETE
        assert find_training_run(run_id).digests["weights"] == DIGESTS.weights

    @pytest.mark.parametrize("kind", ["train", "smoke", "final", "trial"])
    def test_every_kind_that_trains(self, made, kind):
        assert find_training_run(self.put(made, kind=kind)).settings == COMPLETE

    def test_one_of_an_earlier_version_with_fewer_settings(self, made):
        earlier = COMPLETE.model_dump(mode="json")
        del earlier["sam_rho"], earlier["folds"]
        assert find_training_run(self.put(made, earlier)).settings == COMPLETE

    @pytest.mark.parametrize(
        ("tags", "line"),
        [
            ({"kind": "eval"}, "--like {}: it is of kind eval. Allowed: runs of flowerml train, campaign and sweep"),
            ({"kind": None}, "--like {}: it has no tag flowerml.kind. Allowed: runs of flowerml train, campaign and"),
            ({"kind": "launcher", "continues": "b" * 32}, f"--like {{}} only started run {'b' * 32}: give that one"),
        ],
    )
    def test_run_that_is_no_training(self, made, tags, line):
        run_id = self.put(made, **tags)
        with pytest.raises(UserError) as refused:
            find_training_run(run_id)
        assert str(refused.value).startswith(line.format(run_id))

    def test_settings_of_another_version(self, made):
        run_id = self.put(made, {**COMPLETE.model_dump(mode="json"), "wings": 2})
        with pytest.raises(UserError, match=r"has settings of another version of flowerml: setting 'wings' is unknown"):
            find_training_run(run_id)

    def test_run_whose_settings_are_not_there_yet(self, made):
        with pytest.raises(UserError, match=r"its settings are not at the MLflow tracking store \(yet\)"):
            find_training_run(made.put(status="RUNNING"))

    def test_param_that_was_cut_off(self, made):
        run_id = made.put()
        for name, text in {**as_params(COMPLETE), "classes": "x" * 6000}.items():
            made.client.log_param(run_id, name, text)
        with pytest.raises(UserError, match="its param classes was cut off at 6000 characters"):
            find_training_run(run_id)

    def test_ids_that_begin_alike(self, made, monkeypatch):
        first = made.put()
        twin = first[:8] + ("1" if first[8] == "0" else "0") * 24
        monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.uuid.uuid4", type("U", (), {"hex": twin}))
        made.put()
        with pytest.raises(UserError, match=rf"^--like {first[:6]}: several runs begin so, like .*: give more"):
            find_training_run(first[:6])
        with pytest.raises(UserError, match="its settings are not"):  # which says that it was found
            find_training_run(first[:9])

    def test_deleted_run_is_none(self, made):
        run_id = self.put(made)
        made.client.delete_run(run_id)
        for text in (run_id, run_id[:8]):
            with pytest.raises(UserError, match="has no such run"):
                find_training_run(text)


def test_params_give_the_settings_back():
    """Also open ones, and words that are none of them."""
    for settings in (COMPLETE, resolve({"weights": "none", "model": "clip_vitb16", "test_dir": "x"})[0]):
        assert Settings.model_validate(values_from_params({**as_params(settings), "like": "x"})) == settings


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "--like xyz",
            "--like is 'xyz'. Allowed: the id of an MLflow run (32 of 0-9 and a-f), or its first characters,",
        ),
        ("--like abc12", "--like is 'abc12'. Allowed: the id of an MLflow run"),
        (f"--like {MISSING}", f"--like {MISSING}: the MLflow tracking store sqlite:///"),
        ("--like abcdef", "--like abcdef: the MLflow tracking store sqlite:///"),
        ("--like abcdef --config x", "--config and --like each give all settings: leave out one of the two"),
        ("--like", "argument --like: expected one argument. flowerml train --help lists the flags"),
    ],
)
def test_refused_in_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {line}")
    assert shown.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
