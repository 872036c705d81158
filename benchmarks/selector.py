"""Seconds of `flowerml select` on a store of 10,000 runs, by stage, against fetching all runs without a filter.

    python benchmarks/selector.py [--runs 10000] [--rounds 5] [--stores sqlite,postgres,http]

All reads go through the package. Postgres and the server are started on loopback by the
functions of tests/tracking/test_compose_server.py, and stopped again.
"""

import argparse
import json
import os
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
from mlflow.tracking import MlflowClient
from rich.table import Table
from support.filled_store import SPLIT, fill
from support.harness import logger, parse_arguments, print_table

from flowerml.errors import UserError
from flowerml.runs.select import COMPARED
from flowerml.selection.decision import make_decision
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns

QUICK = {"runs": 100, "rounds": 1, "stores": "sqlite"}


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
