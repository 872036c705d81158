"""A copied run: its own name, the source's data and model."""

from flowerml.events import DatasetInput, MemoryRecorder, Metrics, TrainedModel
from flowerml.journal import Journal, RunStarted
from flowerml.runs.copy_run import run_copy
from flowerml.settings import resolve

DATA = (
    DatasetInput("train", "a" * 64, "photos", "training", '{"num_rows": 8}'),
    DatasetInput("validation", "b" * 64, "photos", "validation"),
)


def test_a_copy_names_the_data_and_the_model_of_its_source(tmp_path):
    source = tmp_path / "source"
    attempt = source / "attempts" / "0001"
    attempt.mkdir(parents=True)
    (source / "best.pth").write_bytes(b"weights")
    journal = Journal.create(attempt, RunStarted("j" * 32, "flowers", "B01_seed11", "host"))
    for event in (*DATA, TrainedModel("B01_seed11", {"seed": "11"}), Metrics({"best_val_accuracy": 0.5}, 3)):
        journal.append(event)
    settings, _ = resolve({"weights": "none", "output_dir": str(tmp_path / "copy"), "run_name": "F01_CNN"})
    recorder = MemoryRecorder()
    figures = {"best_epoch": 3.0, "best_val_accuracy": 0.5}
    run_copy(settings, source, "c" * 64, lambda *_: recorder, labels={"flowerml.kind": "final"}, figures=figures)
    assert (tmp_path / "copy" / "best.pth").read_bytes() == b"weights"
    told = [event for event in recorder.events if isinstance(event, DatasetInput | TrainedModel)]
    assert told == [*DATA, TrainedModel("F01_CNN", {"seed": "11"})]
    (metrics,) = (event for event in recorder.events if isinstance(event, Metrics))
    assert (metrics.values, metrics.step, metrics.of_model) == (figures, 3, True)
