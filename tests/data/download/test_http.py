"""One request: redirects, addresses, time-outs, proxies, certificates; errors in one line."""

import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from flowerml.data.download import http as connection
from tests.data.download.archive_server import COUNTS, Turn
from tests.data.download.fetch_helpers import ARCHIVE, WAYS, fetch, names_beside, refusal


def test_redirects_are_followed_with_the_range(serve, train):
    mirror = serve(Turn(ARCHIVE, cut=7000), Turn(ARCHIVE))
    server = serve(Turn(b"", status=302, location=mirror.url))
    assert fetch(train, server) == COUNTS
    assert mirror.ranges == [None, "bytes=7000-"]


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/x.tgz", "data:text/plain,x", "gopher://x/"]
)
def test_redirects_to_other_schemes_are_refused(serve, train, target):
    server = serve(Turn(b"", status=302, location=target))
    message = refusal(train, server)
    assert repr(target) in message
    assert "neither http nor https" in message
    assert len(server.requests) == 1


def test_redirects_in_a_circle_or_to_nowhere_end(serve, train):
    assert "in a circle or to nowhere" in refusal(train, serve(Turn(b"", status=302, location="/again.tgz")))
    assert "in a circle or to nowhere" in refusal(train, serve(Turn(b"", status=302)))


@pytest.mark.parametrize(
    "url",
    [
        "file:///x.tgz",
        "ftp://host/x.tgz",
        "x.tgz",
        "",
        "http://",
        "http://a b/x",
        "http://h/é.tgz",
        "http://h/\n",
        "http://h:x/",
        "http://[/",
    ],
)
def test_an_address_that_is_none_is_refused(train, url):
    message = refusal(train, url)
    assert f"--url is {url!r}" in message
    assert names_beside(train) == []


def test_a_password_in_the_address_is_refused_and_not_repeated(train):
    assert "s3cret" not in refusal(train, "https://me:s3cret@mirror.example/x.tgz")


def test_a_name_that_does_not_resolve_is_tried_twice(train, capsys):
    message = refusal(train, "http://mirror.invalid/x.tgz")
    assert "http://mirror.invalid/x.tgz can't be reached (the name mirror.invalid does not resolve): " in message
    assert all(way in message for way in WAYS)
    assert capsys.readouterr().err.count("trying again") == 1


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_refused_connection_is_tried_twice(train, capsys):
    port = free_port()
    message = refusal(train, f"http://127.0.0.1:{port}/x.tgz")
    assert f"can't be reached (127.0.0.1:{port}: connection refused): " in message
    assert all(way in message for way in WAYS)
    assert capsys.readouterr().err.count("trying again") == 1


def test_packets_that_are_swallowed_cost_one_time_out(train, capsys, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # fills the queue: the system answers no further knock
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        message = refusal(train, f"http://127.0.0.1:{full.getsockname()[1]}/x.tgz")
    assert "no connection within 0.3 s" in message
    assert "trying again" not in capsys.readouterr().err


def test_a_server_that_says_nothing_costs_one_time_out(train, capsys, monkeypatch):
    monkeypatch.setattr(connection, "READ_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = refusal(train, f"http://127.0.0.1:{silent.getsockname()[1]}/x.tgz")
    assert "can't be reached (no answer in time)" in message
    assert "trying again" not in capsys.readouterr().err


def test_an_answer_may_take_longer_than_the_connection(serve, train, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.4)
    server = serve(Turn(ARCHIVE, delay_s=0.9))
    assert fetch(train, server) == COUNTS
    assert len(server.requests) == 1


def test_a_proxys_refusal_is_said_at_once(serve, train, monkeypatch, capsys):
    proxy = serve(Turn(b"", status=403))
    monkeypatch.setenv("https_proxy", proxy.address)
    message = refusal(train, "https://mirror.example/x.tgz")
    assert "can't be reached (the proxy refuses: 403 Forbidden): " in message
    assert all(way in message for way in WAYS)
    assert len(proxy.requests) == 1


def test_a_proxy_that_is_away_is_named(train, monkeypatch):
    port = free_port()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    assert f"(127.0.0.1:{port}: connection refused)" in refusal(train, "https://mirror.example/x.tgz")


def certificate(folder):
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a company")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = folder / "company.pem"
    pem.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*kind))
    return pem, folder / "key.pem"


def test_an_unknown_certificate_is_refused_and_a_companys_own_can_be_named(serve, train, tmp_path, monkeypatch, capsys):
    pem, key = certificate(tmp_path)
    server = serve(Turn(ARCHIVE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    message = refusal(train, url)
    assert "can't be reached (TLS: self-signed certificate; " in message
    assert "SSL_CERT_FILE" in message
    assert "trying again" not in capsys.readouterr().err
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert fetch(train, url) == COUNTS


def test_https_where_only_http_is_spoken_is_said(serve, train):
    message = refusal(train, serve(Turn(ARCHIVE)).url.replace("http:", "https:"))
    assert "can't be reached (TLS: " in message


def test_an_answer_that_is_not_http_is_said(train, monkeypatch):
    program = "import socket,sys; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
    program += "while True:\n c,_=s.accept(); c.recv(9999); c.sendall(b'SSH-2.0-OpenSSH\\r\\n'); c.close()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        try:
            message = refusal(train, f"http://127.0.0.1:{server.stdout.readline().strip()}/x.tgz")
        finally:
            server.kill()
    assert "can't be reached (the answer is not HTTP)" in message


def test_credentials_of_netrc_are_never_sent(serve, train, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    mirror = serve(Turn(ARCHIVE))
    server = serve(Turn(b"", status=302, location=mirror.url))
    assert fetch(train, server) == COUNTS
    assert not any("Authorization" in headers for headers in (*server.requests, *mirror.requests))


def test_one_address_of_each_family_is_tried(train, monkeypatch):
    """Behind a firewall that drops packets, each of sixteen addresses would cost a time-out."""
    stream = socket.SOCK_STREAM
    found = [(socket.AF_INET6, stream, 6, "", (f"2001:db8::{number}", 80, 0, 0)) for number in range(8)]
    found += [(socket.AF_INET, stream, 6, "", (f"192.0.2.{number}", 80)) for number in range(8)]
    tried = []

    def connect(address, timeout_s):
        tried.append((address, timeout_s))
        raise TimeoutError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert "(mirror.example:80: no connection within 10 s)" in refusal(train, "http://mirror.example/x.tgz")
    assert tried == [(("2001:db8::0", 80), 10.0), (("192.0.2.0", 80), 10.0)]
