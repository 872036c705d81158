"""Whatever is broken about a store is named as what it is, with the remedy. Each cause is a real one, on loopback."""

import datetime
import http.server
import ipaddress
import shutil
import sqlite3
import ssl
import threading
from contextlib import closing, contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flowerml.events import Ended, Metrics, Status
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failure_table import Kind
from flowerml.tracking.client.failures import find_failure, to_user_error
from tests.tracking.delivery.helpers import record_epochs, settings
from tests.tracking.faulty_server import wait_for


@contextmanager
def answering(status, body=b"<html><p>log in</p></html>", context=None):
    """A server on loopback that answers every request so; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def self_signed(folder):
    """A TLS context with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.fixture
def fail(monkeypatch):
    """A function that asks a store and returns the failure; it checks what holds for all."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def fail(address):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(Exception) as caught:
            connect().search_experiments(max_results=1)
        failure = find_failure(caught.value)
        text = str(to_user_error(caught.value))
        assert text == str(failure)
        assert "\n" not in text
        assert "secret" not in text
        assert len(text) < 600, text
        return failure

    return fail


HTTP = {
    401: (Kind.LOGIN, "wants a login, or another one (HTTP 401 Unauthorized): set MLFLOW_TRACKING_USERNAME"),
    403: (Kind.FORBIDDEN, "refuses (HTTP 403 Forbidden): ask who runs it for access"),
    404: (Kind.NO_MLFLOW, "is no MLflow server (HTTP 404 Not Found): set MLFLOW_TRACKING_URI"),
    200: (Kind.NO_MLFLOW, "is no MLflow server (what came is not from MLflow)"),
    500: (Kind.SERVER_ERROR, "answers with an error (HTTP 500 Internal Server Error, each time): look at the server's"),
    502: (Kind.SERVER_ERROR, "answers with an error (HTTP 502 Bad Gateway, each time)"),
    429: (Kind.SERVER_ERROR, "answers with an error (HTTP 429 Too Many Requests, each time)"),
}


@pytest.mark.parametrize("status", HTTP)
def test_an_answer_is_named_by_its_status(fail, status):
    kind, words = HTTP[status]
    with answering(status) as port:
        failure = fail(f"http://team:secret@127.0.0.1:{port}")
    assert failure.kind is kind
    assert f"http://***@127.0.0.1:{port} {words}" in str(failure)
    assert failure.is_permanent is (kind is not Kind.SERVER_ERROR)


def test_a_server_of_mlflow_that_fails_inside(fail):
    body = b'{"error_code": "INTERNAL_ERROR", "message": "(sqlite3.OperationalError) database or disk is full"}'
    with answering(501, body) as port:
        failure = fail(f"http://127.0.0.1:{port}")
    assert (failure.kind, failure.is_permanent) == (Kind.SERVER_ERROR, False)
    assert "database or disk is full" in str(failure)


def test_a_self_signed_certificate(fail, tmp_path):
    with answering(200, context=self_signed(tmp_path)) as port:
        failure = fail(f"https://127.0.0.1:{port}")
    assert (failure.kind, failure.is_permanent, failure.is_unreached) == (Kind.CERTIFICATE, True, True)
    assert "has a certificate that is not trusted here (self" in str(failure)
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in failure.remedy


def test_a_file_of_certificates_that_is_not_there(fail, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none/ca.pem")
    with answering(200, context=self_signed(tmp_path)) as port:
        failure = fail(f"https://127.0.0.1:{port}")
    assert failure.kind is Kind.CERTIFICATE_FILE
    assert "/none/ca.pem" in str(failure)


def test_a_server_without_tls(fail):
    with answering(200) as port:
        failure = fail(f"https://127.0.0.1:{port}")
    assert failure.kind is Kind.NO_TLS
    assert "write http://" in failure.remedy


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(fail, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme}_proxy", "http://team:secret@127.0.0.1:9")
    failure = fail(f"{scheme}://mlflow.invalid")
    assert (failure.kind, failure.is_permanent) == (Kind.PROXY, False)
    assert "can't be reached through the proxy (Connection refused): mend HTTPS_PROXY or HTTP_PROXY" in str(failure)


def test_a_proxy_that_wants_a_login(fail, monkeypatch):
    with answering(407) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        failure = fail("https://mlflow.invalid")
    assert failure.kind is Kind.PROXY


def test_a_host_name_that_is_not_known(fail):
    failure = fail("http://mlflow.invalid:5000")
    assert (failure.kind, failure.is_permanent) == (Kind.HOST_NAME, False)
    assert "has a host name that is not known (" in str(failure)


def test_a_server_that_is_away(fail):
    failure = fail("http://127.0.0.1:9")
    assert (failure.kind, failure.is_permanent) == (Kind.AWAY, False)
    assert str(failure).endswith("does not answer (Connection refused): start it, or set MLFLOW_TRACKING_URI")


class TestDatabase:
    def test_a_file_of_something_else(self, fail, tmp_path):
        (tmp_path / "text.db").write_text("these are my notes\n" * 100)
        failure = fail(f"sqlite:///{tmp_path / 'text.db'}")
        assert failure.kind is Kind.NO_DATABASE
        assert "text.db is no database (file is not a database): name another file" in str(failure)
        assert (tmp_path / "text.db").read_text().startswith("these are my notes")

    def test_a_folder(self, fail, tmp_path):
        failure = fail(f"sqlite:///{tmp_path}")
        assert failure.kind is Kind.NOT_OPENED
        assert f"can't be opened: {tmp_path} is a folder: name a file in it" in str(failure)

    def test_a_folder_that_can_not_be_made(self, fail, tmp_path):
        assert "the folder /proc/none can't be made: make it" in str(fail("sqlite:////proc/none/mlflow.db"))
        (tmp_path / "file").write_text("")
        failure = fail(f"sqlite:///{tmp_path / 'file' / 'x' / 'mlflow.db'}")
        assert f"{tmp_path / 'file'} is no folder" in str(failure)

    def test_a_file_that_can_not_be_written(self, fail, empty_store, tmp_path, monkeypatch):
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{tmp_path / 'mlflow.db'}?mode=ro&uri=true")
        with pytest.raises(Exception, match="readonly") as caught:
            connect().create_experiment("x")
        failure = find_failure(caught.value)
        assert failure.kind is Kind.NOT_WRITABLE
        assert "can't be written (attempt to write a readonly database): make the file and its folder writable" in str(
            failure
        )

    def test_a_damaged_file(self, fail, empty_store, tmp_path):
        data = bytearray(empty_store.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        (tmp_path / "mlflow.db").write_bytes(data)
        assert fail(f"sqlite:///{tmp_path / 'mlflow.db'}").kind is Kind.DAMAGED

    def test_one_that_another_process_locks(self, fail, empty_store, tmp_path):
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            failure = fail(f"sqlite:///{tmp_path / 'mlflow.db'}?timeout=0.05")
        assert (failure.kind, failure.is_permanent) == (Kind.LOCKED, False)

    @pytest.mark.parametrize("revision", ["v3.2.0.a", "fedcba987654"], ids=["of Optuna", "of a newer MLflow"])
    def test_tables_of_another_program_or_version(self, fail, empty_store, tmp_path, revision):
        file = tmp_path / "mlflow.db"
        if revision != "v3.2.0.a":
            shutil.copy(empty_store, file)
        with closing(sqlite3.connect(file)) as database:
            database.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)")
            database.execute("DELETE FROM alembic_version")
            database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
            database.commit()
        failure = fail(f"sqlite:///{file}")
        assert failure.kind is Kind.SCHEMA
        assert "was made by another version of MLflow, or by another program" in str(failure)


def test_another_kind_of_trouble_is_told_again_and_the_same_is_not(server, start, fast_retries, capsys):
    recorder = start(settings(), "flowers", "x")
    record_epochs(recorder, 1)
    wait_for(lambda: recorder.pending == 0)
    for fault in ("lost", "page", "503", "lost"):
        server.fault = lambda number, path, fault=fault: fault
        enough = recorder._sender._failures + 3
        recorder.record(Metrics({"a": 1.0}, len(server.requests)))
        wait_for(lambda enough=enough: recorder._sender._failures >= enough)
    server.fault = lambda number, path: None
    wait_for(lambda: recorder.pending == 0)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    stderr = capsys.readouterr().err
    told = [line for line in stderr.splitlines() if line.startswith("warning: ")]
    assert ["does not answer" in told[0], "is no MLflow server" in told[1], "answers with an error" in told[2]] == [
        True
    ] * 3
    assert len(told) == 3, stderr
    assert stderr.count("is there again") == 1


def test_a_server_that_answers_and_takes_nothing_is_told_once(server, start, fast_retries, capsys):
    """As one whose disk is full: that it answers questions is no recovery."""
    recorder = start(settings(), "flowers", "x")
    record_epochs(recorder, 1)
    wait_for(lambda: recorder.pending == 0)
    server.fault = lambda number, path: "503" if path.endswith("log-batch") else None
    record_epochs(recorder, 2)
    wait_for(lambda: recorder._sender._failures > 5)
    server.fault = lambda number, path: None
    recorder.close()
    assert recorder.pending == 0
    stderr = capsys.readouterr().err
    assert (stderr.count("answers with an error"), stderr.count("is there again")) == (1, 1), stderr
