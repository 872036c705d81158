"""`flowerml export --tta`: views in the delivered file, a calibration fitted with them, and the checks of both."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerml.cli.main import main
from flowerml.delivery.verify import Expected, verify
from flowerml.evaluation.fit_calibration import fit_calibration
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.tta import FLIP, FLIP_SCALES, NO_VIEWS
from flowerml.prediction import as_predictor, load_predictor, predict_proba
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.data.pictures import put_classes
from tests.tracking.finished_runs import CLASSES, trained


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return put_classes(tmp_path_factory.mktemp("photos"), dict.fromkeys(CLASSES, 11))


def leave_run(folder: Path, photos: Path, *, calibrated=True) -> Path:
    """What a run leaves in its folder, with predictions and a calibration of its own weights."""
    folder.mkdir(parents=True)
    checkpoint = trained("cnn")
    model = as_predictor(checkpoint, "cpu", "")
    files = sorted(photos.rglob("*.jpg"))
    inputs = torch.stack([model.preprocess(path) for path in files])
    with torch.inference_mode():
        logits = model(inputs)
    np.savez(folder / "probe.npz", inputs=inputs[:8].numpy(), logits=logits[:8].numpy(), ids=np.arange(8))
    labels = np.array([CLASSES.index(path.parent.name) for path in files])
    keys = tuple(f"{path.parent.name}/{path.name}" for path in files)
    calibration = fit_calibration(Predictions(CLASSES, keys, labels, logits.numpy())) if calibrated else None
    save_checkpoint(folder / "best.pth", replace(checkpoint, calibration=calibration))
    names = [CLASSES[place] for place in logits.argmax(1)]
    rows = [
        (key, path.parent.name, name, *row)
        for key, path, name, row in zip(keys, files, names, logits.softmax(1).tolist(), strict=True)
    ]
    with (folder / "predictions.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "label", "predicted", *(f"p_{name}" for name in CLASSES)], *rows])
    return folder / "best.pth"


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos):
    return leave_run(tmp_path_factory.mktemp("runs") / "run", photos)


@pytest.fixture
def export(capsys):
    """A function that runs `flowerml export --json ...` and returns (exit code, what it printed, stderr)."""

    def call(*words):
        code = main(["export", "--json", *map(str, words)])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call


@pytest.fixture(scope="module")
def delivered(run, photos, tmp_path_factory):
    """A delivery with the views flip-scales."""
    out = tmp_path_factory.mktemp("delivery")
    words = ("--checkpoint", run, "--output-dir", out, "--train-dir", photos, "--tta", FLIP_SCALES)
    assert main(["export", *map(str, words)]) == 0
    return out / "cnn_flowers.pth"


@pytest.mark.parametrize("more", [(), ("--half",)])
def test_the_file_has_the_views_and_is_checked_with_and_without_them(run, photos, export, tmp_path, more):
    code, result, err = export(
        "--checkpoint", run, "--output-dir", tmp_path, "--train-dir", photos, "--tta", FLIP, *more
    )
    assert code == 0, err
    (check,) = result["checks"]
    assert check["photos"] == 55
    assert check["differing"] == []
    assert check["view_difference"] < 2e-4
    assert check["logit_difference"] < (0.1 if more else 1e-4)
    entry = result["files"]["cnn_flowers.pth"]
    assert entry["tta"] == FLIP
    assert load_checkpoint(tmp_path / "cnn_flowers.pth").tta == load_predictor(tmp_path / "cnn_flowers.pth").tta == FLIP
    assert "gain" in err
    assert {"accuracy_before", "accuracy_after", "gain", "interval_95", "shown"} == set(entry["tta_gain"])
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "| test-time views | flip, applied in every prediction; the figures below are without them" in card


def test_its_calibration_is_fitted_again_with_the_views(run, delivered, photos):
    files = sorted(photos.rglob("*.jpg"))
    labels = np.array([CLASSES.index(path.parent.name) for path in files])
    before, after = load_checkpoint(run).calibration, load_checkpoint(delivered).calibration
    assert not np.array_equal(before.scores, after.scores)
    own = predict_proba(load_predictor(delivered), files)[np.arange(len(files)), labels]
    assert np.allclose(np.sort(1 - own), after.scores, atol=1e-5)


@pytest.mark.slow
def test_it_predicts_with_them_where_there_is_no_flowerml(delivered, photos, tmp_path):
    files = [str(path) for path in sorted(photos.rglob("*.jpg"))[:6]]
    code = (
        "import sys, json; sys.modules['flowerml'] = None\n"
        "import flowers_classifier as fc; model = fc.load_cnn_model()\n"
        "print(json.dumps([model.tta, fc.predict_proba(model, sys.argv[1:]).tolist()]))"
    )
    environment = {"PYTHONPATH": str(delivered.parent), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tta, rows = json.loads(done.stdout)
    assert tta == FLIP_SCALES
    assert np.allclose(rows, predict_proba(load_predictor(delivered), files), atol=1e-6)


def test_a_file_that_does_not_apply_its_views_is_found_out(run, delivered, photos):
    """Its content says flip-scales where flip is expected: the logits of one view agree, those with views do not."""
    said = replace(load_checkpoint(run), tta=FLIP)
    probe = Expected(run.parent / "probe.npz", None, None)
    check = verify(delivered.parent, delivered.name, said, probe, exact=True)
    assert check.logit_difference < 1e-4
    assert len(check.problems) == 1
    assert check.problems[0].startswith("its probabilities with the views flip are not those of the run's network")
    assert verify(delivered.parent, delivered.name, replace(said, tta=FLIP_SCALES), probe, exact=True).problems == ()


def test_exported_again_it_keeps_them_byte_for_byte_and_none_takes_them_out(run, delivered, photos, export, tmp_path):
    code, result, _ = export("--checkpoint", delivered, "--output-dir", tmp_path / "again")
    assert (code, result["files"]["cnn_flowers.pth"]["tta"]) == (0, FLIP_SCALES)
    assert (tmp_path / "again" / "cnn_flowers.pth").read_bytes() == delivered.read_bytes()
    for name in ("probe.npz", "predictions.csv"):
        (tmp_path / "again" / name).write_bytes((run.parent / name).read_bytes())
    words = ("--checkpoint", tmp_path / "again" / "cnn_flowers.pth", "--train-dir", photos, "--tta", NO_VIEWS)
    code, result, err = export(*words, "--output-dir", tmp_path / "none")
    assert code == 0, err
    assert result["checks"][0]["view_difference"] is None
    found = load_checkpoint(tmp_path / "none" / "cnn_flowers.pth")
    assert found.tta == NO_VIEWS
    assert "tta" not in torch.load(tmp_path / "none" / "cnn_flowers.pth", weights_only=True)
    assert found.calibration.temperature == pytest.approx(load_checkpoint(run).calibration.temperature, rel=1e-3)


def test_without_the_validation_photos_it_is_refused_in_one_line_and_nothing_is_written(run, export, tmp_path):
    (tmp_path / "photos").mkdir()
    few = put_classes(tmp_path / "photos", dict.fromkeys(CLASSES, 9))  # 45 of the 55
    for more in ((), ("--train-dir", few)):
        code, result, err = export("--checkpoint", run, "--output-dir", tmp_path / "out", "--tta", FLIP, *more)
        assert (code, result) == (2, None)
        last = err.splitlines()[-1]
        assert last.startswith(f"error: --tta flip: the calibration in {run} was fitted with --tta none, and to fit it")
        assert last.endswith("name their folder with --train-dir, or leave out --tta")
        assert f"of which {45 if more else 0} are at hand" in last
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_weights_without_a_calibration_need_no_photos(photos, export, tmp_path):
    best = leave_run(tmp_path / "run", photos, calibrated=False)
    code, result, err = export("--checkpoint", best, "--output-dir", tmp_path / "out", "--tta", FLIP)
    assert code == 0, err
    assert "tta_gain" not in result["files"]["cnn_flowers.pth"]
    assert load_checkpoint(tmp_path / "out" / "cnn_flowers.pth").calibration is None


def test_relations_are_no_part_of_it_and_a_wrong_word_is_one_line(export, tmp_path):
    save_checkpoint(tmp_path / "best.pth", trained("relation"))
    code, _, err = export("--checkpoint", tmp_path / "best.pth", "--output-dir", tmp_path / "out", "--tta", FLIP)
    assert code == 2
    assert "a model of family relation is no part of a delivery" in err.splitlines()[-1]
    code, _, err = export("--checkpoint", tmp_path / "best.pth", "--tta", "flips")
    assert (code, err.count("\n")) == (2, 1)
    assert "Did you mean flip?" in err
