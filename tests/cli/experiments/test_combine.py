"""`flowerml combine`: table, JSON and mistakes in one line."""

import json
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.data.synthetic.flowers import make_flowers
from flowerml.events import MemoryRecorder
from flowerml.files import file_digest
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from flowerml.tracking import start_run
from tests.cli.refused import assert_refused
from tests.runs.conftest import SMALL
from tests.sweep.commands import runs_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(flowers, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("run") / name for name in ("a", "b")]
    for epochs, folder in enumerate(folders, start=1):
        changes = {"epochs": epochs, "warmup_epochs": 0, "train_dir": str(flowers), "output_dir": str(folder)}
        run_training(resolve({**SMALL, **changes})[0], lambda *_: MemoryRecorder())
    return folders


def call(*words) -> int:
    return run_command("combine", [str(word) for word in words])


def test_prints_a_table_and_the_gain_and_eval_and_predict_take_the_result(runs, flowers, tmp_path, capsys):
    out = tmp_path / "soup"
    assert call(*runs, "--output-dir", out, "--workers", 0, "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ingredient", "choosing", "half", "taken"]
    assert {line.split()[0] for line in lines[1:3]} == {str(run / "best.pth") for run in runs}
    assert lines[1].endswith("yes")
    taken = sum(one["taken"] for one in json.loads((out / "combine.json").read_text())["ingredients"])
    said = f"soup of {taken}: gain " if taken > 1 else "no average is better on the choosing half"
    assert lines[-1].startswith(said)
    assert run_command("eval", ["--checkpoint", str(out / "best.pth"), "--workers", "0", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["accuracy"] == json.loads((out / "combine.json").read_text())["validation"]["accuracy"]
    assert run_command("predict", ["--model", str(out / "best.pth"), str(flowers), "--workers", "0"]) == 0


def test_json_is_the_file(runs, tmp_path, capsys):
    out = tmp_path / "soup"
    assert call(*runs, "--output-dir", out, "--workers", 0, "--device", "auto", "--seed", 3, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "combine.json").read_text())
    assert shown["seed"] == 3


def test_it_is_a_run_in_mlflow_unless_told_otherwise(runs, tmp_path):
    call(*runs, "--output-dir", tmp_path / "soup", "--workers", 0)
    (run,) = runs_of("combine")
    written = json.loads((tmp_path / "soup" / "combine.json").read_text())
    assert run.info.status == "FINISHED"
    assert run.data.metrics["gain"] == written["judging"]["gain"]
    assert run.data.metrics["best_val_accuracy"] == written["validation"]["accuracy"]
    assert run.data.metrics["ingredients_taken"] == sum(one["taken"] for one in written["ingredients"])
    names = {one.path for one in MlflowClient().list_artifacts(run.info.run_id)}
    assert names == {path.name for path in (tmp_path / "soup").iterdir()}
    call(*runs, "--output-dir", tmp_path / "other", "--workers", 0, "--no-record")
    assert len(runs_of("combine")) == 1


def test_a_point_between_two_runs(runs, tmp_path, capsys):
    out = tmp_path / "between"
    assert call(*runs, "--interpolate", "--output-dir", out, "--workers", 0) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["alpha", "choosing", "half"]
    assert [float(line.split()[0]) for line in lines[1:12]] == [step / 10 for step in range(11)]
    written = json.loads((out / "combine.json").read_text())
    alpha = written["choosing"]["alpha"]
    assert lines[-1].startswith("no point is better" if alpha == 1 else f"alpha {alpha:g}: gain ")
    (run,) = runs_of("combine")
    assert run.data.metrics["alpha"] == written["choosing"]["alpha"]


def test_the_runs_of_a_campaign_are_its_finished_trainings_of_the_family(flowers, tmp_path, capsys, caplog):
    """One in its folder, and one whose folder is not on this host; neither a final model nor one of another family, and
    none that can't be averaged with the best (another seed, from a random start).
    """
    labels = {"flowerml.campaign": "spring", "flowerml.kind": "train"}
    for name, more in (("one", {}), ("two", {}), ("final", {"flowerml.kind": "final"}), ("other", {}), ("seed", {})):
        epochs = 2 if name == "two" else 1
        values = {"epochs": epochs, "warmup_epochs": 0, "train_dir": str(flowers), "output_dir": str(tmp_path / name)}
        seed = 99 if name == "seed" else 11
        settings = resolve({**SMALL, **values, "weights": "none", "seed": seed})[0]
        run_training(settings, start_run, labels={**labels, **more, "flowerml.plan_run": name})
    other = next(run for run in runs_of("train") if run.data.tags["flowerml.plan_run"] == "other")
    MlflowClient().set_tag(other.info.run_id, "flowerml.family", "vit")
    odd = next(run for run in runs_of("train") if run.data.tags["flowerml.plan_run"] == "seed")
    MlflowClient().log_metric(odd.info.run_id, "best_val_accuracy", 0.0)  # so it is not the best
    (tmp_path / "two").rename(tmp_path / "away")
    words = ("--campaign", "spring", "--output-dir", tmp_path / "soup", "--workers", 0, "--json")
    assert call(*words, "--family", "cnn") == 0
    ingredients = json.loads(capsys.readouterr().out)["ingredients"]
    digests = {file_digest(tmp_path / name / "best.pth") for name in ("one", "away")}
    assert {one["sha256"] for one in ingredients} == digests
    assert "seed/best.pth is left out of the average: both started at random" in caplog.text
    assert str(tmp_path / "one" / "best.pth") in {one["path"] for one in ingredients}
    assert call(*words, "--family", "vit") == 2
    assert "campaign spring has 1 finished training run of family vit (of 1)" in capsys.readouterr().err


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """Two runs of different models with 110 validation pictures, and the pictures' folder."""
    photos = tmp_path_factory.mktemp("photos")
    make_flowers(photos, per_class=44, size=32, seed=4)
    folders = [tmp_path_factory.mktemp("run") / name for name in ("a", "b")]
    for model, folder in zip(("timm:test_convnext2", "timm:test_resnet"), folders, strict=True):
        given = {"model": model, "epochs": 1, "warmup_epochs": 0, "val_split": 0.5, "train_dir": str(photos)}
        run_training(resolve({**SMALL, **given, "output_dir": str(folder)})[0], lambda *_: MemoryRecorder())
    return folders, photos


def test_the_weights_of_an_ensemble(validated, tmp_path, capsys):
    (first, second), photos = validated
    before = {path: path.stat().st_mtime_ns for run in (first, second) for path in run.rglob("*")}
    assert call("--ensemble", first, second / "best.pth") == 0
    line = capsys.readouterr().out.strip()
    assert call("--ensemble", first, second, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    a, b = shown["weights"]
    said = f"--ensemble-weights {a:g},{b:g} against" if a and b else "no ensemble: on the choosing half none is better"
    assert line.startswith(said)
    assert shown["runs"] == [str(first), str(second)]
    assert shown["judging"]["pictures"] == pytest.approx(55, abs=10)
    assert {path: path.stat().st_mtime_ns for run in (first, second) for path in run.rglob("*")} == before
    assert runs_of("combine") == []

    shutil.copytree(photos, tmp_path / "moved")
    assert call("--ensemble", first, second, "--json", "--train-dir", tmp_path / "moved") == 0
    assert json.loads(capsys.readouterr().out) == shown


def test_an_ensemble_keeps_near_duplicates_on_one_side(validated, tmp_path, capsys):
    """All pictures of each class are one: they can't be divided."""
    (first, second), photos = validated
    copies = shutil.copytree(photos, tmp_path / "copies")
    for folder in (path for path in copies.iterdir() if path.is_dir()):
        one, *others = sorted(folder.iterdir())
        for other in others:
            shutil.copy(one, other)
    assert call("--ensemble", first, second, "--train-dir", copies) == 2
    assert "validation photos can't be split into two halves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "a b --ensemble --interpolate",
            "--ensemble does not go with --interpolate: it prints weights and writes no file. Leave out one of the two",
        ),
        (
            "a b --ensemble --output-dir out",
            "--ensemble does not go with --output-dir: it prints weights and writes no file. Leave out one of the two",
        ),
        (
            "a b c --ensemble",
            "--ensemble is of two runs, not of 3: name two with the same validation pictures",
        ),
        (
            "--campaign c --family cnn --ensemble",
            "--ensemble is of two runs, not of a campaign: name two with the same validation pictures",
        ),
        ("a b --ensemble", "checkpoint a/best.pth: no such file. Give a run's best.pth or a delivered .pth"),
        (
            "a --output-dir out",
            "a is all there is to combine: name two or more runs of one model, one that has kept its epochs"
            " (--keep-epochs), or --campaign and --family",
        ),
        ("a b --output-dir out --seed x", "--seed is 'x'. Allowed: whole number, 0 to 2147483648"),
        (
            "--output-dir out",
            "nothing is named to combine: name two or more runs of one model, one that has kept its epochs"
            " (--keep-epochs), or --campaign and --family",
        ),
        (
            "a --campaign c --family cnn --output-dir out",
            "--campaign and run folders exclude each other: name the runs in one way",
        ),
        (
            "--campaign c --output-dir out",
            "--campaign and --family belong together: a campaign has runs of several models",
        ),
        (
            "--campaign c --family cnn --output-dir out",
            "campaign c has 0 finished training runs of family cnn (of 0): two or more can be combined. Check"
            " --campaign (its id, as `flowerml campaign` prints it) and the tracking server",
        ),
        (
            "a b c --interpolate --output-dir out",
            "--interpolate is of two runs, not of 3: name a linear probe (--probe) and a fine-tuned run with the same"
            " --weights",
        ),
        (
            "--campaign c --family cnn --interpolate --output-dir out",
            "--interpolate is of two runs, not of a campaign: name a linear probe (--probe) and a fine-tuned run with"
            " the same --weights",
        ),
        ("a b", "the following arguments are required: --output-dir. flowerml combine --help lists the flags"),
        (
            "a b --output-dir out",
            "checkpoint a: no such file. Give a run's best.pth or a delivered .pth",
        ),
        (
            "a b --output-dir full",
            "--output-dir full is not empty (it holds x): name a new or empty folder",
        ),
    ],
)
def test_mistakes_are_one_line(words, line, tmp_path, monkeypatch, capsys):
    assert_refused(call, words, line, tmp_path, monkeypatch, capsys)
