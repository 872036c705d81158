"""Seconds of `flowerml select` on a store of 10,000 runs, by stage, against fetching all runs without a filter.

    python benchmarks/selector.py [--runs 10000] [--rounds 5] [--stores sqlite,postgres,http]

The store is filled without MLflow's client (one `create_run` costs 13 ms): rows are inserted into MLflow's tables as
its store would insert them. All reads go through the package. Postgres and the server are started on loopback by the
functions of tests/tracking/test_compose_server.py, and stopped again.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlflow
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from rich.table import Table
from support.harness import logger, parse_arguments, print_table

from flowerml.errors import UserError
from flowerml.runs.select import COMPARED
from flowerml.selection.decision import make_decision
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns

PICTURES, SEEDS, EXPERIMENTS, CANDIDATES = 776, (11, 23, 47), 20, 200
PARAMS, METRICS = 40, 15
CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SPLIT = "c0ffee" + "0" * 58
QUICK = {"runs": 100, "rounds": 1, "stores": "sqlite"}


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


def fill(uri: str, runs: int, folder: Path) -> None:
    """Insert the runs into an empty store; the candidates have a `predictions.csv`."""
    store = SqlAlchemyStore(uri, folder.as_uri())
    experiments = [
        store.create_experiment(f"experiment {i}", artifact_location=(folder / f"e{i}").as_uri())
        for i in range(EXPERIMENTS)
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


@contextmanager
def filled_stores(names: list[str], runs: int) -> Iterator[Iterator[tuple[str, str]]]:
    """(name, address) of each store, one after the other; all are removed afterwards."""

    def start_and_fill() -> Iterator[tuple[str, str]]:
        folder = Path(scratch)
        if "sqlite" in names:
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            fill(uri, runs, folder / "sqlite")
            yield "sqlite", uri
        if not {"postgres", "http"} & set(names):
            return
        from tests.tracking import compose_server as servers

        with contextmanager(servers.postgres.__wrapped__)() as port:
            os.environ["PGPASSWORD"] = servers.PASSWORD
            uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
            fill(uri, runs, folder / "postgres")
            if "postgres" in names:
                yield "postgres", uri
            if "http" in names:
                with tracking_server(servers, port, folder) as address:
                    yield "http (on postgres)", address

    with tempfile.TemporaryDirectory() as scratch:
        yield start_and_fill()


@contextmanager
def tracking_server(servers: object, postgres: int, folder: Path) -> Iterator[str]:
    """The address of the server of docker/compose.yaml on that Postgres; this process is logged in there."""
    import signal

    port = servers.free_port()
    environment = servers.environment_here(folder, postgres)
    os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = servers.ADMIN_PASSWORD
    command = servers.command_here(port, postgres, folder / "served")
    ready = lambda: servers.answer(port, "/health") == (200, b"OK")  # noqa: E731
    with servers.running(command, ready, folder / "log", signal.SIGTERM, cwd=folder, env=environment):
        yield f"http://127.0.0.1:{port}"


def timed(times: dict[str, list[float]], stage: str, action: Callable[[], object]) -> object:
    """The action's result; its seconds are appended to `times[stage]`."""
    started = time.perf_counter()
    try:
        return action()
    finally:
        times.setdefault(stage, []).append(time.perf_counter() - started)


def select(scope: Scope, times: dict[str, list[float]]) -> int:
    """Search, fetch, decide, as `flowerml select` does. Returns the number of runs compared; 0 if several splits match.

    In that case the command lists the splits and asks for one.
    """
    started = time.perf_counter()
    tracked = timed(times, "connect", TrackedRuns)
    try:
        runs = timed(times, "find", lambda: tracked.find(scope))
    except UserError:
        times.setdefault("all", []).append(time.perf_counter() - started)
        return 0
    ranking = timed(times, "rank", lambda: rank_runs(runs, scope))
    fetched = timed(times, "pictures", lambda: tracked.pictures(ranking.leading_runs(COMPARED)))
    timed(times, "decide", lambda: make_decision(ranking, fetched))
    times.setdefault("all", []).append(time.perf_counter() - started)
    return len(runs)


def count_all_runs() -> int:
    """Fetch every run of the server, page by page, without a filter."""
    client, token, count = MlflowClient(), None, 0
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    while True:
        page = client.search_runs(experiments, max_results=1000, page_token=token)
        count, token = count + len(page), page.token
        if not token:
            return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", default="sqlite,postgres,http")
    args = parse_arguments(parser, QUICK)
    names = args.stores.split(",")
    questions = {
        "digest named": Scope(family="cnn", split_digest=SPLIT[:8]),
        "one digest, not named": Scope(family="vit"),
        "several digests: list": Scope(family="cnn"),
    }
    stages = ("connect", "find", "rank", "pictures", "decide", "all")
    table = Table("store", "question", "runs", "hits", *stages, "all runs, no filter", "ratio", title="seconds, median")
    seconds: list[float] = []
    with filled_stores(names, args.runs) as stores:
        for name, uri in stores:
            logger.info(f"{name}: filled")
            mlflow.set_tracking_uri(uri)
            unfiltered: dict[str, list[float]] = {}
            total = timed(unfiltered, "all", count_all_runs)
            seconds += unfiltered["all"]
            for question, scope in questions.items():
                times: dict[str, list[float]] = {}
                hits, *_ = (select(scope, times) for _ in range(args.rounds))
                medians = {stage: statistics.median(values) for stage, values in times.items()}
                logger.info(json.dumps({"store": name, "question": question, "hits": hits, **medians}))
                cells = [f"{medians[stage]:.2f}" if stage in medians else "" for stage in stages]
                ratio = f"{unfiltered['all'][0] / medians['all']:.0f}"
                table.add_row(name, question, f"{total:,}", str(hits), *cells, f"{unfiltered['all'][0]:.1f}", ratio)
                seconds += medians.values()
    print_table(table, len(names) * len(questions), seconds, width=150)


if __name__ == "__main__":
    main()
