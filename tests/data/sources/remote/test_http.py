"""Pictures over http: fetched once, again where they changed, whole or not at all, and from nowhere else."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowerml.data.download import adapter, session
from flowerml.data.sources.local import local_path
from flowerml.data.sources.remote import copy
from flowerml.data.sources.remote.limits import COPIES_VARIABLE
from flowerml.errors import UserError
from tests.data.pictures import encode, put_classes, scene
from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.remote.reading import digest
from tests.data.sources.remote.servers import serving
from tests.data.sources.shards import shard, shards_of
from tests.data.sources.tables import read, table_of

COUNTS = {"daisy": 3, "rose": 2, "tülip": 2}


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


@pytest.fixture
def offered(root, site):
    """The address of a table of the pictures, which the site has beside it."""
    site.put_folder(root, "data/photos/")
    site.files["/data/photos.csv"] = table_of(root).read_bytes()
    return f"{site.url}/data/photos.csv"


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_table_is_the_folder_and_is_fetched_once(offered, root, site, again):
    assert digest(offered) == digest(root)
    assert site.fetched() == sorted(["/data/photos.csv", *(f"/data/photos/{name}" for name in files_below(root))])
    assert digest(offered) == digest(root)
    assert site.requests == [], "a process asks once"
    again()
    assert digest(offered) == digest(root)
    assert {method for method, _ in site.requests} == {"HEAD"}


def test_two_processes_at_a_time_fetch_each_file_once(offered, root, site, cache):
    """Threads that do not share what was brought: a lock of the folder makes the second one wait."""
    bring = copy.local_copy.__wrapped__
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: bring(offered, cache), range(2))
    assert first == second
    assert site.fetched() == sorted(["/data/photos.csv", *(f"/data/photos/{name}" for name in files_below(root))])


def test_what_has_changed_is_fetched_again_and_what_is_gone_is_removed(offered, root, site, again, cache):
    digest(offered)
    site.fetched()
    site.files["/data/photos/rose/00.jpg"] = (root / "rose" / "00.jpg").write_bytes(encode(scene(77), "JPEG")) and (
        root / "rose" / "00.jpg"
    ).read_bytes()
    (root / "daisy" / "02.jpg").unlink()
    del site.files["/data/photos/daisy/02.jpg"]
    site.files["/data/photos.csv"] = table_of(root).read_bytes()
    again()
    assert digest(offered) == digest(root)
    assert site.fetched() == ["/data/photos.csv", "/data/photos/rose/00.jpg"]
    assert not [path for path in cache.rglob("02.jpg") if path.parent.name == "daisy"]


def test_a_server_without_versions_is_asked_for_all_again(offered, root, site, again):
    site.tags = False
    digest(offered)
    site.fetched()
    again()
    assert digest(offered) == digest(root)
    assert len(site.fetched()) == 8


def test_tar_and_parquet_files_and_their_class_names(root, site, tmp_path):
    site.put_folder(shards_of(root, tmp_path / "s"), "s/")
    site.put_folder(parquet_of(root, tmp_path / "p", count=1), "p/")
    for address in ("s/flowers-{000..002}.tar", "p/train-00000-of-00001.parquet"):
        assert digest(f"{site.url}/{address}") == digest(root)
    members = [("r.jpg", encode(scene(1), "JPEG")), ("r.cls", "1"), ("t.jpg", encode(scene(2), "JPEG")), ("t.cls", "0")]
    site.files["/n/a.tar"] = shard(tmp_path / "n" / "a.tar", *members).read_bytes()
    site.files["/n/classes.txt"] = b"tulip\nrose\n"
    assert [file.key for file in read(f"{site.url}/n/a.tar").files] == ["rose/r.jpg", "tulip/t.jpg"]


REFUSED = {
    "not there": ("/none.csv", r"/none.csv: not there \(the server answers 404 Not Found\)"),
    "a log-in": (
        "/private.csv",
        r"the server wants a log-in \(it answers 403 Forbidden\), and none can be given in an",
    ),
    "broken": ("/broken.csv", r"can't be had \(the server answers 500 Internal Server Error\). Try again later"),
    "a folder": (
        "/data/photos",
        r"a folder can't be listed over http. Allowed: the address of a .csv, .tar or .parquet",
    ),
    "upwards": ("/up.csv", r"up.csv, line 2: '../a.jpg' is not below the table's address"),
    "absolute": ("/absolute.csv", r"line 2: '/etc/passwd' is not below the table's address"),
    "another address": ("/address.csv", r"line 2: 'http://h/a.jpg' is not below the table's address"),
    "an odd name": ("/odd.csv", r"line 2: 'x{200}'.* is no name that a file can have"),
    "a picture that is not there": ("/lacks.csv", r"/none.jpg: not there \(the server answers 404"),
    "a circle": ("/circle.csv", r"redirects in a circle"),
    "another protocol": ("/ftp.csv", r"redirects to ftp://, which is refused"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_had_is_one_line_and_leaves_no_half_file(site, cache, case):
    name, message = REFUSED[case]
    site.statuses |= {"/private.csv": 403, "/broken.csv": 500}
    site.redirects |= {"/circle.csv": "/circle.csv", "/ftp.csv": "ftp://host/x.csv"}
    for table, path in {
        "up": "../a.jpg",
        "absolute": "/etc/passwd",
        "address": "http://h/a.jpg",
        "odd": "x" * 300,
        "lacks": "none.jpg",
    }.items():
        site.files[f"/{table}.csv"] = f"path,label\n{path},rose\n".encode()
    with pytest.raises(UserError, match=message) as refused:
        local_path(Path(site.url + name))
    assert "\n" not in str(refused.value)
    assert {file.name for file in cache.rglob("*") if file.is_file()} <= {"lock", "objects.json", name[1:]}


def test_a_connection_that_breaks_is_tried_again_and_leaves_nothing_half(offered, root, site, cache, again):
    site.cut["/data/photos/rose/01.jpg"] = 10
    with pytest.raises(UserError, match=r"rose/01.jpg broke off 3 times \(last: the connection was closed\)"):
        local_path(Path(offered))
    assert not [path for path in cache.rglob("*") if path.name == "01.jpg" and path.parent.name == "rose"]
    site.cut.clear()
    site.fetched()
    again()
    assert digest(offered) == digest(root)
    assert "/data/photos/rose/01.jpg" in site.fetched()


def test_a_server_that_can_not_be_reached_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r"http://127.0.0.1:9/x.csv can't be reached \(127.0.0.1:9: connection refused\)"
    ):
        local_path(Path("http://127.0.0.1:9/x.csv"))


@pytest.mark.parametrize(
    "address",
    ["https://me:pw@h.org/x.csv", "s3://key:pw@b/x", "https://h.org/x.csv?sig=abc", "https://h.org/x.csv#t=1"],
)
def test_an_address_that_may_hold_a_credential_is_refused_and_not_repeated(address):
    with pytest.raises(UserError, match="an address with a user, a password, or a query") as refused:
        local_path(Path(address))
    assert not re.search("pw|abc|t=1", str(refused.value))


def test_copies_are_bounded(offered, monkeypatch):
    monkeypatch.setenv(COPIES_VARIABLE, "0.000003")
    with pytest.raises(UserError, match=r"to fetch, and the copies in .*remote take .* \(allowed: .*\). Remove those"):
        local_path(Path(offered))
    for text in ("no", "-1", "0", "nan"):
        monkeypatch.setenv(COPIES_VARIABLE, text)
        copy.local_copy.cache_clear()
        with pytest.raises(UserError, match=rf"FLOWERML_REMOTE_GB is '{text}'. Allowed: a number of GB, > 0"):
            local_path(Path(offered))


def test_a_cache_folder_that_can_not_be_written_is_one_line(offered, cache):
    cache.write_text("a file")
    with pytest.raises(UserError, match=r"the cache folder .* can't be written to .*FLOWERML_CACHE_DIR"):
        local_path(Path(offered))


class TestRedirects:
    """From an outside server, which here is one that the guard takes for one."""

    @pytest.fixture
    def outside(self, monkeypatch):
        """A server at 127.0.0.1 that counts as outside; all else on this machine does not."""
        with serving() as site:
            own = int(site.url.rpartition(":")[2])
            connect = adapter._connect

            def connect_to(host, port, timeout_s, *, guarded=False):
                return connect(host, port, timeout_s, guarded=guarded and port != own)

            monkeypatch.setattr(adapter, "_connect", connect_to)
            is_private = session.is_private_host
            monkeypatch.setattr(session, "is_private_host", lambda host: host != "127.0.0.1" and is_private(host))
            yield site

    @pytest.mark.parametrize(
        "host", ["localhost", "127.0.0.2", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:7f00:1]"]
    )
    def test_to_this_machine_or_network_are_refused_before_a_connection(self, outside, host):
        outside.redirects["/x.csv"] = f"http://{host}/secret.csv"
        with pytest.raises(UserError, match=r"leads to .*, a machine of this network: refused") as refused:
            local_path(Path(f"{outside.url}/x.csv"))
        assert "\n" not in str(refused.value)

    def test_a_name_that_changes_its_address_meanwhile_is_refused_at_the_connection(self, outside, site):
        """The name passes the first look (127.0.0.1 counts as outside), and its port shows that it is not."""
        site.files["/secret.csv"] = b"path,label\n"
        outside.redirects["/x.csv"] = f"{site.url}/secret.csv"
        with pytest.raises(UserError, match=r"leads to 127.0.0.1, a machine of this network: refused"):
            local_path(Path(f"{outside.url}/x.csv"))
        assert site.requests == []

    def test_within_a_network_that_was_named_they_are_followed(self, site, root):
        site.put_folder(root, "photos/")
        site.files["/real.csv"] = table_of(root).read_bytes()
        site.redirects["/photos.csv"] = f"{site.url}/real.csv"
        assert digest(f"{site.url}/photos.csv") == digest(root)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0")),
        *((host, True) for host in ("::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "224.0.0.1")),
        *((host, False) for host in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "no such host")),
    ],
)
def test_which_hosts_are_of_this_network(host, expected):
    assert adapter.is_private_host(host) is expected
