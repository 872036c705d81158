"""How long `flowerml select` needs on a server with 10,000 runs: a table per store, against asking for all runs and
looking through them.

    python benchmarks/selector.py [--runs 10000] [--rounds 5] [--stores sqlite,postgres,http]

Only the filling goes past MLflow's client (one `create_run` costs 13 ms): rows are put into MLflow's own tables as its
store would. All reading is the real thing. Postgres and the server are started on loopback, the way
tests/tracking/test_compose_server.py does, and stopped again.
"""

import argparse
import json
import logging
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
from rich.console import Console
from rich.table import Table

from flowerml.errors import UserError
from flowerml.log import configure_logging
from flowerml.runs.select import COMPARED
from flowerml.selection.decision import make_decision
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns

logger = logging.getLogger(__name__)

PICTURES, SEEDS, EXPERIMENTS, CHOSEN = 776, (11, 23, 47), 20, 200
PARAMS, METRICS = 40, 15
CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SPLIT = "c0ffee" + "0" * 58


def digest(number: int) -> str:
    """Hex of 64 characters, different at its start."""
    return f"{number:08x}" + "a" * 56


def plan(runs: int) -> Iterator[dict[str, str]]:
    """The tags of each run: 200 of family cnn in the digest that is asked for, 200 of family vit in its only one, and
    the others' runs.

    Half of those are cnn trainings on ten other digests; the rest trials, evaluations and smoke tests.
    """
    for number in range(runs):
        mine, family, kind = number % CHOSEN, "cnn", "train"
        group = number // CHOSEN
        if group == 0:
            split, config = SPLIT, mine // len(SEEDS)
        elif group == 1:
            split, config, family = digest(1), 1000 + mine // len(SEEDS), "vit"
        elif number % 2:
            split, config = digest(2 + number % 11), 2000 + number // len(SEEDS)
        else:
            split, config, kind = digest(20), 90_000 + number, ("trial", "eval", "smoke")[number % 3]
        yield {
            "flowerml.kind": kind,
            "flowerml.family": family,
            "flowerml.config_id": digest(config),
            "flowerml.seed": str(SEEDS[number % len(SEEDS)] if group > 1 else SEEDS[mine % len(SEEDS)]),
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
    """Put the runs into a fresh store; the first 400 have a `predictions.csv`."""
    store = SqlAlchemyStore(uri, folder.as_uri())
    experiments = [
        store.create_experiment(f"experiment {i}", artifact_location=(folder / f"e{i}").as_uri())
        for i in range(EXPERIMENTS)
    ]
    draw, rows = random.Random(5), {table: [] for table in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric)}

    def write() -> None:
        with store.engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(table.__table__.insert(), values)
                values.clear()

    for number, tags in enumerate(plan(runs)):
        run_id, experiment = f"{number:032x}", number % EXPERIMENTS
        hits = draw.randint(700, 760)
        where = folder / f"e{experiment}" / run_id / "artifacts"
        tags |= {"mlflow.runName": f"run {number}", "flowerml.val_hits": str(hits)}
        about = {
            "name": tags["mlflow.runName"],
            "status": "FINISHED",
            "start_time": 10**12 + number,
            "end_time": 10**12 + number + 1,
        }
        place = {
            "experiment_id": experiments[experiment],
            "artifact_uri": where.as_uri(),
            "lifecycle_stage": "active",
            "user_id": "x",
        }
        rows[SqlRun].append({"run_uuid": run_id, "source_type": "LOCAL", **about, **place})
        rows[SqlTag] += [{"key": key, "value": value, "run_uuid": run_id} for key, value in tags.items()]
        rows[SqlParam] += [{"key": f"param{i}", "value": f"value {i}", "run_uuid": run_id} for i in range(PARAMS)]
        figures = {"best_val_accuracy": hits / PICTURES, "best_val_macro_f1": hits / PICTURES, "best_epoch": 30.0}
        figures |= {f"metric{i}": draw.random() for i in range(METRICS - len(figures))}
        metrics = [
            {"key": k, "value": v, "timestamp": 1, "step": 0, "is_nan": False, "run_uuid": run_id}
            for k, v in figures.items()
        ]
        rows[SqlMetric] += metrics
        rows[SqlLatestMetric] += metrics
        if number < 2 * CHOSEN:
            where.mkdir(parents=True)
            right = set(draw.sample(range(PICTURES), hits))
            lines = [
                f"rose/{i:04d}.jpg,rose,{'rose' if i in right else 'tulip'},0.1,0.2,0.3,0.2,0.2"
                for i in range(PICTURES)
            ]
            (where / "predictions.csv").write_text("\n".join(["image,label,predicted,a,b,c,d,e", *lines]) + "\n")
        if number % 1000 == 999 or number == runs - 1:
            write()


@contextmanager
def stores(names: list[str], runs: int) -> Iterator[Iterator[tuple[str, str]]]:
    """(name, address) of each store, filled; all are gone afterwards."""
    from tests.tracking import compose_server as servers

    def each() -> Iterator[tuple[str, str]]:
        folder = Path(scratch)
        if "sqlite" in names:
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            fill(uri, runs, folder / "sqlite")
            yield "sqlite", uri
        if not {"postgres", "http"} & set(names):
            return
        with contextmanager(servers.postgres.__wrapped__)() as port:
            os.environ["PGPASSWORD"] = servers.PASSWORD
            uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
            fill(uri, runs, folder / "postgres")
            if "postgres" in names:
                yield "postgres", uri
            if "http" in names:
                with served(servers, port, folder) as address:
                    yield "http (on postgres)", address

    with tempfile.TemporaryDirectory() as scratch:
        yield each()


@contextmanager
def served(servers: object, postgres: int, folder: Path) -> Iterator[str]:
    """The address of a server with two workers on that Postgres."""
    import signal

    port = servers.free_port()
    environment = {**os.environ, **servers.SERVICE["environment"], "PGPASSWORD": servers.PASSWORD}
    command = servers.command_here(port, postgres, folder / "served")
    ready = lambda: servers.answer(port, "/health") == (200, b"OK")  # noqa: E731
    with servers.running(command, ready, folder / "log", signal.SIGTERM, cwd=folder, env=environment):
        yield f"http://127.0.0.1:{port}"


def timed(times: dict[str, list[float]], stage: str, action: Callable[[], object]) -> object:
    """The action's result; its seconds are put down."""
    started = time.perf_counter()
    try:
        return action()
    finally:
        times.setdefault(stage, []).append(time.perf_counter() - started)


def one_round(scope: Scope, times: dict[str, list[float]]) -> int:
    """Ask, fetch, decide, as `flowerml select` does. Returns the number of runs that were looked at; 0 where several
    digests are listed.
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


def naive() -> int:
    """Every run of the server, page by page."""
    client, token, found = MlflowClient(), None, 0
    experiments = [one.experiment_id for one in client.search_experiments()]
    while True:
        page = client.search_runs(experiments, max_results=1000, page_token=token)
        found, token = found + len(page), page.token
        if not token:
            return found


def main() -> None:
    """Fill, measure, print."""
    configure_logging()
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", default="sqlite,postgres,http")
    asked = parser.parse_args()
    questions = {
        "digest named": Scope(family="cnn", split_digest=SPLIT[:8]),
        "one digest, not named": Scope(family="vit"),
        "several digests: list": Scope(family="cnn"),
    }
    stages = ("connect", "find", "rank", "pictures", "decide", "all")
    table = Table("store", "question", "runs", "hits", *stages, "all runs, no filter", "ratio", title="seconds, median")
    with stores(asked.stores.split(","), asked.runs) as opened:
        for name, uri in opened:
            logger.info(f"{name}: filled")
            mlflow.set_tracking_uri(uri)
            whole: dict[str, list[float]] = {}
            every = timed(whole, "all", naive)
            for question, scope in questions.items():
                times: dict[str, list[float]] = {}
                hits, *_ = (one_round(scope, times) for _ in range(asked.rounds))
                medians = {stage: statistics.median(values) for stage, values in times.items()}
                logger.info(json.dumps({"store": name, "question": question, "hits": hits, **medians}))
                cells = [f"{medians[stage]:.2f}" if stage in medians else "" for stage in stages]
                ratio = f"{whole['all'][0] / medians['all']:.0f}"
                table.add_row(name, question, f"{every:,}", str(hits), *cells, f"{whole['all'][0]:.1f}", ratio)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
