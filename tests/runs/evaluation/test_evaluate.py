"""Evaluating a checkpoint: on its own split, and where its folder is read-only."""

import json
import shutil

from PIL import Image

from flowerml.events import Artifact, MemoryRecorder, Status
from flowerml.runs.evaluate import Request, run_evaluation


def test_eval_gives_what_training_logged_to_the_last_digit(small_run, train_small, tmp_path):
    for finished in (small_run[0], train_small(ema=False, freeze_backbone_epochs=0)[0]):
        folder = shutil.copytree(finished.folder, tmp_path / finished.folder.parent.name)  # other tests read the run
        evaluation = run_evaluation(Request(folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
        assert evaluation.scores.accuracy == finished.scores.accuracy
        assert evaluation.scores.macro_f1 == finished.scores.macro_f1
        assert evaluation.scores.loss == finished.scores.loss
        assert (evaluation.scores.confusion == finished.scores.confusion).all()
        assert (folder / "eval_val" / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()
        assert evaluation.changes == ()


def test_eval_uses_the_stored_split_and_says_what_changed(train_small, flowers, tmp_path):
    copy = tmp_path / "photos"
    shutil.copytree(flowers, copy)
    finished, _ = train_small(train_dir=str(copy))
    split = json.loads((finished.folder / "split.json").read_text())
    gone, changed = split["val"][0], split["train"][0]
    (copy / gone).unlink()
    Image.new("RGB", (64, 64), "blue").save(copy / changed)
    Image.new("RGB", (64, 64), "red").save(copy / "tulip" / "new.jpg")
    evaluation = run_evaluation(Request(finished.folder / "best.pth", "val", workers=0), lambda *_: MemoryRecorder())
    assert evaluation.scores.total == len(split["val"]) - 1, (
        "a picture that is gone is not replaced, a new one not counted"
    )
    text = " ".join(evaluation.changes)
    assert gone in text
    assert changed in text
    assert "tulip/new.jpg" in text
    whole = run_evaluation(Request(finished.folder / "best.pth", "all", workers=0), lambda *_: MemoryRecorder())
    assert whole.scores.total == len(split["train"]) + len(split["val"]) - 1


def test_eval_beside_a_checkpoint_where_nothing_can_be_written_still_gives_its_figures(train_small, capsys):
    finished, _ = train_small(epochs=1, warmup_epochs=0)
    (finished.folder / "eval_val").write_text("a file where the folder should be")
    recorder = MemoryRecorder()
    evaluation = run_evaluation(Request(finished.folder / "best.pth", "val", workers=0), lambda *_: recorder)
    assert evaluation.scores.accuracy == finished.scores.accuracy
    assert "can't write" in capsys.readouterr().err
    artifacts = [event.path for event in recorder.events if isinstance(event, Artifact)]
    assert artifacts
    assert all(path.is_file() for path in artifacts)
    assert recorder.events[-1].status is Status.FINISHED
    assert (
        recorder.tags()["flowerml.split_digest"] == json.loads((finished.folder / "split.json").read_text())["digest"]
    )


def test_a_page_that_cant_be_written_is_named_and_all_else_is_there(small_run, tmp_path, capsys):
    folder = shutil.copytree(small_run[0].folder, tmp_path / "copy")
    (folder / "eval_val" / "confusion_matrix.png" / "in the way").mkdir(parents=True)
    recorder = MemoryRecorder()
    evaluation = run_evaluation(Request(folder / "best.pth", "val", workers=0), lambda *_: recorder)
    assert evaluation.scores.accuracy == small_run[0].scores.accuracy
    assert "confusion_matrix.png could not be made" in capsys.readouterr().err
    names = {event.path.name for event in recorder.events if isinstance(event, Artifact)}
    assert names == {"predictions.csv", "confusion_matrix.json", "per_class.json", "errors.html"}
    assert recorder.events[-1].status is Status.FINISHED


def test_files_of_another_test_folder_are_replaced_with_a_warning(small_run, flowers, tmp_path, capsys):
    folder = shutil.copytree(small_run[0].folder, tmp_path / "run")
    few = tmp_path / "few"
    for name in ("rose", "tulip"):
        (few / name).mkdir(parents=True)
        for path in sorted((flowers / name).glob("*.jpg"))[:2]:
            shutil.copy(path, few / name)

    def evaluate(photos):
        capsys.readouterr()
        run_evaluation(Request(folder / "best.pth", "val", test_dir=photos, workers=0), lambda *_: MemoryRecorder())
        return [line for line in capsys.readouterr().err.splitlines() if "evaluation of other pictures" in line]

    assert evaluate(flowers) == []
    assert evaluate(flowers) == []
    (warning,) = evaluate(few)
    assert f"{folder / 'eval_test'} has an evaluation of other pictures (60): its files are replaced" in warning
