"""Settings, metrics and helpers shared by the tests of delivery."""

from flowerml.events import Artifact, DatasetInput, Ended, Metrics, Params, Status, Tags
from flowerml.journal import Journal
from flowerml.settings import resolve
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from tests.tracking.faulty_server import wait_for


def settings(**changes):
    values = {
        "model": "convnextv2_atto",
        "weights": "none",
        "epochs": 10,
        "output_dir": "runs/x",
        "run_name": "x",
        "classes": "a,b",
    }
    return resolve({**values, **changes})[0]


def metrics(step):
    return Metrics({"val_accuracy": 0.1 * step}, step, 1_000 * step)


def record_epochs(recorder, *steps):
    for step in steps:
        recorder.record(metrics(step))


def points(server, run_id):
    return [(point.step, point.timestamp) for point in server.store.get_metric_history(run_id, "val_accuracy")]


def wait_for_points(server, recorder, *steps):
    """Wait until the server has the points of these steps and no others."""
    wait_for(lambda: recorder.run_id and points(server, recorder.run_id) == [(step, 1_000 * step) for step in steps])


def attempt_folder(root, number):
    return root / "attempts" / f"{number:04d}"


NAME = "x"


def sample_events(root):
    """The events of a small run after its `RunStarted`, with their files."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("settings.json", "{}"), ("best.pth", "weights"), ("errors.html", "<p>")):
        (root / name).write_text(text)
    return [
        Tags({"flowerml.kind": "train", "flowerml.seed": "11"}),
        Params({"lr_head": "0.001", "classes": "a,b"}),
        DatasetInput("train", "d" * 64, "somewhere", "training"),
        Metrics({"effective_imbalance": 1.0}, 0, 1_500),
        Artifact(root / "settings.json"),
        *(Metrics({"val_accuracy": 0.1 * step, "train_loss": float("nan")}, step, 2_000 + step) for step in (1, 2, 3)),
        Metrics({"best_val_accuracy": 0.3}, 3, 3_000),
        Tags({"mlflow.note.content": "a description"}),
        Artifact(root / "best.pth"),
        Artifact(root / "errors.html", "test"),
        Ended(Status.FINISHED, "", 4_000),
    ]


def deliver(folder, tries=200):
    """Deliver as successive processes would, each ended by its first error. Returns the run's id."""
    for _ in range(tries):
        delivery = JournalDelivery(Journal(folder))
        try:
            delivery.open()
            while delivery.deliver_batch():
                if not delivery.is_open:
                    delivery.open()
            assert delivery.pending() == 0
            return delivery.run_id
        except Exception as error:
            last = error
        finally:
            delivery.close()
    raise last


def runs_with_journal(server, folder):
    """The ids of the server's runs that have a folder's journal."""
    journal = Journal(folder).started.journal
    everywhere = [experiment.experiment_id for experiment in server.store.search_experiments()]
    return [run.info.run_id for run in server.store.search_runs(everywhere, f"tags.`flowerml.journal` = '{journal}'")]
