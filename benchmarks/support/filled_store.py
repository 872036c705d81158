"""A store with many finished runs, made in seconds.

It is filled without MLflow's client (one `create_run` costs 13 ms): rows are inserted into MLflow's tables as its store
would insert them.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

PICTURES, SEEDS, EXPERIMENTS, CANDIDATES = 776, (11, 23, 47), 20, 200
PARAMS, METRICS = 40, 15
CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SPLIT = "c0ffee" + "0" * 58


def digest(number: int) -> str:
    """64 hex characters that differ in the first eight."""
    return f"{number:08x}" + "a" * 56


def candidate_count(runs: int) -> int:
    """Runs that a question for one family and one split finds."""
    return min(CANDIDATES, runs // 5)


def run_tags(runs: int) -> Iterator[dict[str, str]]:
    """The tags of each run: candidates of family cnn with split SPLIT, as many of family vit with one split, the rest.

    Half of the rest are cnn trainings with eleven other splits, the others trials, evaluations and smoke tests.
    """
    for number in range(runs):
        group, index = divmod(number, candidate_count(runs))
        family, kind = "cnn", "train"
        if group == 0:
            split, config = SPLIT, index // len(SEEDS)
        elif group == 1:
            split, config, family = digest(1), 1000 + index // len(SEEDS), "vit"
        elif number % 2:
            split, config = digest(2 + number % 11), 2000 + number // len(SEEDS)
        else:
            split, config, kind = digest(20), 90_000 + number, ("trial", "eval", "smoke")[number % 3]
        yield {
            "flowerml.kind": kind,
            "flowerml.family": family,
            "flowerml.config_id": digest(config),
            "flowerml.seed": str(SEEDS[(number if group > 1 else index) % len(SEEDS)]),
            "flowerml.data_digest": "d" * 64,
            "flowerml.split_digest": split,
            "flowerml.classes": ",".join(CLASSES),
            "flowerml.model": "convnextv2_large",
            "flowerml.parameters": "196418021",
            "flowerml.val_total": str(PICTURES),
            "mlflow.note.content": "A run in words. " * 60,
            **{f"mlflow.tag{i}": f"value {i}" for i in range(8)},
        }


def fill(uri: str, runs: int, folder: Path, first: str = "experiment 0") -> None:
    """Insert the runs into an empty store; the candidates have a `predictions.csv`. `first` names an experiment."""
    store = SqlAlchemyStore(uri, folder.as_uri())
    experiments = [
        store.create_experiment(name, artifact_location=(folder / f"e{i}").as_uri())
        for i, name in enumerate((first, *(f"experiment {i}" for i in range(1, EXPERIMENTS))))
    ]
    rng, rows = random.Random(5), {table: [] for table in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric)}

    def insert() -> None:
        with store.engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(table.__table__.insert(), values)
                values.clear()

    for number, tags in enumerate(run_tags(runs)):
        run_id, experiment = f"{number:032x}", number % EXPERIMENTS
        hits = rng.randint(700, 760)
        artifacts = folder / f"e{experiment}" / run_id / "artifacts"
        tags |= {"mlflow.runName": f"run {number}", "flowerml.val_hits": str(hits)}
        run = {
            "run_uuid": run_id,
            "name": tags["mlflow.runName"],
            "status": "FINISHED",
            "start_time": 10**12 + number,
            "end_time": 10**12 + number + 1,
            "experiment_id": experiments[experiment],
            "artifact_uri": artifacts.as_uri(),
            "lifecycle_stage": "active",
            "source_type": "LOCAL",
            "user_id": "x",
        }
        rows[SqlRun].append(run)
        rows[SqlTag] += [{"key": key, "value": value, "run_uuid": run_id} for key, value in tags.items()]
        rows[SqlParam] += [{"key": f"param{i}", "value": f"value {i}", "run_uuid": run_id} for i in range(PARAMS)]
        figures = {"best_val_accuracy": hits / PICTURES, "best_val_macro_f1": hits / PICTURES, "best_epoch": 30.0}
        figures |= {f"metric{i}": rng.random() for i in range(METRICS - len(figures))}
        metrics = [
            {"key": k, "value": v, "timestamp": 1, "step": 0, "is_nan": False, "run_uuid": run_id}
            for k, v in figures.items()
        ]
        rows[SqlMetric] += metrics
        rows[SqlLatestMetric] += metrics
        if number < 2 * candidate_count(runs):
            write_predictions(artifacts, set(rng.sample(range(PICTURES), hits)))
        if number % 1000 == 999 or number == runs - 1:
            insert()


def write_predictions(folder: Path, correct: set[int]) -> None:
    """`predictions.csv` of PICTURES roses, those with the numbers `correct` predicted as roses."""
    folder.mkdir(parents=True)
    lines = [
        f"rose/{i:04d}.jpg,rose,{'rose' if i in correct else 'tulip'},0.1,0.2,0.3,0.2,0.2" for i in range(PICTURES)
    ]
    (folder / "predictions.csv").write_text("\n".join(["image,label,predicted,a,b,c,d,e", *lines]) + "\n")
