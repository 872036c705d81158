"""A real MLflow server in this process (loopback, SQLite) with network faults injected per request."""

import io
import logging
import os
import socket
import threading
import time
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient
from werkzeug.serving import make_server

PAGE = b"<!DOCTYPE html><p>the company's proxy"
FAULTS = ("lost", "answer lost", "503", "answer 503", "page")


class FaultyServer:
    """`fault(number, path)` returns the fault of a request, by its number since `reset`; None for no fault.

    lost: the connection is closed before the request is executed. 503 and page: a proxy responds instead of the server.
    `answer ...`: the request is executed, and only its response is lost. hang: the request is executed once `hold` is
    set.
    """

    def __init__(self, folder):
        self.artifacts = folder / "artifacts"
        self.store = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        self.store.search_experiments()
        self.environment = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.artifacts),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }
        os.environ.update(self.environment, _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/")
        from mlflow.server import app, handlers

        for name in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
            if hasattr(handlers, name):
                setattr(handlers, name, None)  # of an earlier server in this process
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = app
        self._port = 0
        self._count = threading.Lock()
        self._up()
        self.reset()
        client = MlflowClient(tracking_uri=self.address)
        experiment = client.create_experiment("warm")  # the first requests are slow
        client.log_metric(client.create_run(experiment).info.run_id, "a", 1.0)
        client.search_runs([experiment], "tags.a = 'b'")
        mlflow.set_tracking_uri(None)  # the server sets its own database for the whole process, once
        for name in (*self.environment, "_MLFLOW_SERVER_ARTIFACT_ROOT"):
            del os.environ[name]

    @property
    def address(self):
        return f"http://127.0.0.1:{self._port}"

    def rows(self, run_id):
        """`rows` of one of its runs, read from the store without the network."""
        return rows(self.store, run_id, self.artifacts)

    def reset(self, fault=lambda number, path: None):
        self.fault = fault
        self.requests = []
        self.hold = threading.Event()
        self.hold.set()

    def down(self):
        """Stop listening on the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def up(self):
        self._up()

    def close(self):
        self.hold.set()
        self.down()

    def _up(self):
        self._server = make_server("127.0.0.1", self._port, self._answer, threaded=True)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def _answer(self, environ, start):
        with self._count:
            number = len(self.requests)
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            fault = self.fault(number, environ["PATH_INFO"])
        if fault not in (None, "hang"):
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        if fault == "hang":
            self.hold.wait(60)
        if fault == "lost":
            return self._cut(environ)
        if fault == "503":
            return self._proxy(start, "503 Service Unavailable")
        if fault == "page":
            return self._proxy(start, "200 OK")
        if fault is None or fault == "hang":
            return self._app(environ, start)
        answered = self._app(environ, lambda *_: lambda _: None)
        for _ in answered:
            pass
        if fault == "answer lost":
            return self._cut(environ)
        return self._proxy(start, "503 Service Unavailable")

    def _cut(self, environ):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError

    def _proxy(self, start, status):
        start(status, [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
        return [PAGE]


def wait_for(ready, seconds=20):
    """Wait until `ready()`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def rows(client, run_id, artifacts=None):
    """All that a run consists of (status, params, points, tags, datasets, files), but for its heartbeat.

    `artifacts` is the server's artifact folder.
    """
    run = client.get_run(run_id)
    points = {
        name: sorted((p.step, p.timestamp, repr(p.value)) for p in client.get_metric_history(run_id, name))
        for name in run.data.metrics
    }
    tags = {
        name: text
        for name, text in run.data.tags.items()
        if name not in ("flowerml.heartbeat", "flowerml.journal", "flowerml.continues", "mlflow.artifactLocation")
    }
    data = [(one.dataset.name, one.dataset.digest, one.dataset.source) for one in run.inputs.dataset_inputs]
    info = run.info
    return {
        "state": (
            info.run_name,
            info.status,
            info.start_time,
            info.end_time,
            client.get_experiment(info.experiment_id).name,
        ),
        "params": dict(run.data.params),
        "points": points,
        "tags": tags,
        "data": data,
        "files": files(info.artifact_uri.replace("mlflow-artifacts:", str(artifacts))),
    }


def files(address):
    """(path, size) of every file below a run's artifact address, read from disk."""
    folder = Path(address.removeprefix("file://"))
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*") if path.is_file())
