"""Tar files on a server that do not fit the bound of copies: their pictures are read from there, each once."""

import json
import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowerml.data.download import adapter, session
from flowerml.data.loader import Share, evaluation_loader, training_loader
from flowerml.data.location import Unreachable
from flowerml.data.scan import scan_folder
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.local import local_path
from flowerml.data.sources.remote import remote_span
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.data.sources.remote.remote_span import RemoteSpan
from flowerml.errors import RunFailed, UserError
from tests.data.pictures import encode, put_classes, scene
from tests.data.sources.remote.reading import EVALUATION, digest, examples_of, locations
from tests.data.sources.remote.servers import serving
from tests.data.sources.shards import shard, shards_of
from tests.data.sources.tables import read, table_of

COUNTS = {"daisy": 3, "rose": 2, "tülip": 2}
ALL_IN = "flowers-{000..002}.tar"


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


@pytest.fixture
def shards(root, tmp_path):
    return shards_of(root, tmp_path / "shards")


@pytest.fixture
def offered(shards, site, monkeypatch):
    """The address of three tar files of which none fits."""
    allow(monkeypatch, 1)
    site.put_folder(shards, "s/")
    return f"{site.url}/s/{ALL_IN}"


@pytest.fixture
def nothing_kept(monkeypatch):
    """No picture is kept on disk: each read asks the server."""
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")


def allow(monkeypatch, size):
    """Bound the copies, in bytes."""
    monkeypatch.setenv(COPIES_VARIABLE, f"{size / 1e9:.12f}")


def load(path, workers=0):
    """A loader of the pictures at a path or an address, in batches of two."""
    return evaluation_loader(examples_of(path), EVALUATION, batch_size=2, workers=workers)


def tars(cache):
    """The tar files on this disk, and whether they have bytes."""
    return {path.name: path.stat().st_size > 0 for path in cache.rglob("*.tar")}


class TestWhatIsCopied:
    def test_is_what_fits_in_order_and_the_set_is_the_folder(self, root, shards, site, cache, monkeypatch, capsys):
        first, second, third = (file.stat().st_size for file in sorted(shards.iterdir()))
        allow(monkeypatch, first + second + third - 1)
        site.put_folder(shards, "s/")
        assert digest(f"{site.url}/s/{ALL_IN}") == digest(root)
        assert tars(cache) == {"flowers-000.tar": True, "flowers-001.tar": True, "flowers-002.tar": False}
        said = capsys.readouterr().err
        assert "2 of 3 files (" in said
        assert ") are copied to " in said
        assert "the pictures of the other 1 (" in said

    def test_none_where_none_fits_and_no_temporary_file_is_left(self, offered, root, cache):
        assert digest(offered) == digest(root)
        assert not any(tars(cache).values())
        assert not [path for path in cache.rglob("*") if path.suffix == ".part"]

    def test_the_rest_once_more_is_allowed(self, offered, root, site, cache, again, monkeypatch):
        digest(offered)
        site.fetched()
        again()
        allow(monkeypatch, 10**9)
        assert digest(offered) == digest(root)
        assert all(tars(cache).values())
        assert len(site.fetched()) == 3
        assert not [*cache.glob("remote/*/indexes/*")], "an index of what is copied would be of no use"

    def test_it_is_listed_once_and_scanned_once(self, offered, root, site, again, nothing_kept):
        """Each file is fetched whole once; a start after it, and a scan, ask for versions and one byte alone."""
        for requests in (["GET"] * 3 + ["PART"], ["PART"]):
            path = local_path(Path(offered))
            assert scan_folder(path, read(path), ScanCache(path)).digest == digest(root)
            assert sorted(method for method, _ in site.requests if method != "HEAD") == requests
            site.requests.clear()
            again()

    def test_a_damaged_index_is_made_again(self, offered, root, site, cache, again):
        digest(offered)
        for index in cache.glob("remote/*/indexes/*"):
            index.write_bytes(index.read_bytes()[:-10])
        site.fetched()
        again()
        assert digest(offered) == digest(root)
        assert len(site.fetched()) == 3

    def test_class_names_beside_them_are_fetched(self, site, tmp_path, monkeypatch):
        allow(monkeypatch, 100)
        members = [
            ("r.jpg", encode(scene(1), "JPEG")),
            ("r.cls", "1"),
            ("t.jpg", encode(scene(2), "JPEG")),
            ("t.cls", "0"),
        ]
        site.files["/n/a.tar"] = shard(tmp_path / "n" / "a.tar", *members).read_bytes()
        site.files["/n/classes.txt"] = b"tulip\nrose\n"
        assert [file.key for file in read(f"{site.url}/n/a.tar").files] == ["rose/r.jpg", "tulip/t.jpg"]


class TestPictures:
    def test_are_kept_when_their_file_is_listed(self, offered, site, root):
        found = locations(offered)
        assert all(isinstance(place, RemoteSpan) for place in found)
        expected = [path.read_bytes() for path in sorted(root.rglob("*.jpg"))]
        site.parts_read()
        assert [place.read() for place in found] == expected
        assert site.parts_read() == 0

    def test_are_asked_for_once_and_then_come_from_the_disk(self, offered, site, cache):
        found = locations(offered)
        shutil.rmtree(cache / "streamed")
        site.parts_read()
        before = [place.read() for place in found]
        assert site.parts_read() == len(found)
        assert [place.read() for place in found] == before
        assert site.parts_read() == 0

    def test_are_asked_for_again_where_none_may_be_kept(self, offered, site, nothing_kept):
        found = locations(offered)
        site.parts_read()
        for _ in range(2):
            for place in found:
                place.read()
        assert site.parts_read() == 2 * len(found)

    def test_that_were_damaged_on_disk_are_asked_for_again(self, offered, site, cache):
        found = locations(offered)
        before = [place.read() for place in found]
        for file in (cache / "streamed").glob("??/*"):
            file.write_bytes(file.read_bytes()[:-1] + b"x")
        site.parts_read()
        assert [place.read() for place in found] == before
        assert site.parts_read() == len(found)
        assert [place.read() for place in found] == before
        assert site.parts_read() == 0

    def test_are_read_over_one_connection(self, offered, nothing_kept, site):
        found = locations(offered)
        found[0].read()
        before = site.connections
        for place in found:
            place.read()
        assert site.connections == before

    def test_are_read_by_other_processes(self, offered, nothing_kept, monkeypatch):
        """As loader processes get them: two at a time, forked and spawned, with no connection of this one's."""
        monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", ())  # what another process answered is not asked for again
        found = locations(offered)
        expected = [place.read() for place in found]
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                assert pool.map(RemoteSpan.read, found, chunksize=1) == expected

    def test_give_the_batches_of_the_folder_for_any_number_of_workers(self, offered, nothing_kept, root, site):
        of_folder = [*load(root).epoch(1)]
        for workers in (0, 2):
            loader = load(offered, workers)
            site.parts_read()
            for expected, (inputs, _, ids) in zip(of_folder, loader.epoch(1), strict=True):
                assert torch.equal(inputs, expected[0])
                assert ids == expected[2]
            assert site.parts_read() == sum(COUNTS.values())

    def test_are_read_by_a_rank_where_they_are_of_its_share(self, offered, nothing_kept, site):
        of_set = examples_of(offered)
        for rank in range(2):
            loader = training_loader(
                of_set, EVALUATION, batch_size=7, workers=0, seed=0, share=Share(rank=rank, world=2)
            )
            site.parts_read()
            [(_, _, ids)] = loader.epoch(1)
            assert len(ids) == site.parts_read() == 3 + rank

    def test_have_the_same_state_in_every_process_and_another_for_another_version(self, offered):
        found = locations(offered)
        copied = pickle.loads(pickle.dumps(found))
        assert [place.state() for place in copied] == [place.state() for place in found]
        assert len({tuple(place.state()) for place in found}) == len(found)
        file = found[0].file
        other = replace(found[0], file=replace(file, version=replace(file.version, tag="another")))
        assert other.state() != found[0].state()
        assert other.key != found[0].key

    def test_an_empty_member_is_read_without_a_request(self, site, tmp_path, monkeypatch, nothing_kept):
        allow(monkeypatch, 1)
        members = [("a.jpg", b""), ("a.cls", "rose"), ("b.jpg", encode(scene(2), "JPEG")), ("b.cls", "tulip")]
        site.files["/e.tar"] = shard(tmp_path / "e.tar", *members).read_bytes()
        place = locations(f"{site.url}/e.tar")[0]
        site.parts_read()
        assert place.read() == b""
        assert site.parts_read() == 0


class TestFaults:
    @pytest.fixture
    def place(self, offered, nothing_kept, at_once, site):
        found = locations(offered)[0]
        site.parts_read()
        return found

    def test_a_server_that_fails_a_few_times_is_asked_again(self, place, site, root):
        site.part_statuses = [503, 429]
        assert place.read() == (root / "daisy" / "00.jpg").read_bytes()
        assert site.parts_read() == 3

    def test_a_connection_that_breaks_is_asked_again(self, place, site, root):
        path = "/s/" + place.file.address.rpartition("/")[2]
        site.cut[path] = 10
        with pytest.raises(Unreachable, match=r"flowers-.*tar can't be read \(the connection was closed\)"):
            place.read()
        assert site.parts_read() == 3
        site.cut.clear()
        assert place.read() == (root / "daisy" / "00.jpg").read_bytes()

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_server_that_fails_for_good_is_one_line(self, place, site, status):
        site.part_statuses = [status] * 3
        with pytest.raises(
            Unreachable, match=rf"can't be read \(the server answers {status} .*\). Try again"
        ) as failed:
            place.read()
        assert "\n" not in str(failed.value)
        assert place.read(), "and it is asked again when it is back"

    def test_a_file_that_was_replaced_is_never_mixed_with_the_one_that_was_listed(self, place, site, root, tmp_path):
        path = "/s/" + place.file.address.rpartition("/")[2]
        longer = site.files[path][:-1] + b"\1"
        for data in (longer, b"short", b""):
            site.files[path] = data
            with pytest.raises(Unreachable, match="has changed on the server since its pictures were listed: start"):
                place.read()
        del site.files[path]
        with pytest.raises(Unreachable, match=r"not there \(the server answers 404"):
            place.read()

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ({"Content-Range": None}, r"does not say which bytes \(Content-Range\)"),
            ({"Content-Range": "bytes 0-9/5"}, "has changed"),
            ({"ETag": None}, r"does not say of which version \(ETag\)"),
        ],
    )
    def test_an_answer_that_does_not_say_what_it_is_is_refused(self, place, site, headers, message):
        site.part_headers = headers
        with pytest.raises(Unreachable, match=message):
            place.read()

    def test_other_bytes_than_were_asked_for_are_refused(self, place, site):
        whole = len(site.files["/s/" + place.file.address.rpartition("/")[2]])
        site.part_headers = {"Content-Range": f"bytes 0-{place.size - 1}/{whole}"}
        with pytest.raises(Unreachable, match=r"gives the bytes 0-\d+, not those that were asked for"):
            place.read()

    def test_a_scan_ends_in_one_line_and_drops_no_picture(self, offered, nothing_kept, at_once, site):
        """Without those that can't be reached it would be another set, also with --bad-images skip."""
        path = local_path(Path(offered))
        layout = read(path)
        site.part_statuses = [503] * 100
        with pytest.raises(UserError, match=r"can't be read \(the server answers 503") as failed:
            scan_folder(path, layout)
        assert "\n" not in str(failed.value)

    def test_a_training_ends_in_one_line_that_names_the_picture(self, offered, nothing_kept, at_once, site):
        loader = load(offered, workers=0)
        site.part_statuses = [503] * 100
        with pytest.raises(
            RunFailed, match=r"picture can't be read any more: .*jpg: http.*server answers 503"
        ) as failed:
            list(loader.epoch(1))
        assert "\n" not in str(failed.value)


class TestWhatCanNotStayThere:
    def test_without_parts_of_files(self, offered, site):
        site.parts = False
        with pytest.raises(
            UserError, match=r"to fetch, .*FLOWERML_REMOTE_GB=GB\. Without a copy .*the server gives whole files only"
        ) as refused:
            local_path(Path(offered))
        assert "\n" not in str(refused.value)
        assert site.fetched() == ["/s/flowers-000.tar"], "which was asked for its first byte, and not read"

    def test_without_versions(self, offered, site):
        site.tags = False
        with pytest.raises(UserError, match=r"the server does not say its size and version \(ETag\)"):
            local_path(Path(offered))

    def test_tables(self, root, site, monkeypatch):
        allow(monkeypatch, 1)
        site.files["/photos.csv"] = table_of(root).read_bytes()
        with pytest.raises(
            UserError, match=r"FLOWERML_REMOTE_GB=GB\. Tar \(WebDataset\) and Parquet files need no copy"
        ):
            local_path(Path(f"{site.url}/photos.csv"))

    @pytest.mark.parametrize("name", [COPIES_VARIABLE, STREAMED_VARIABLE])
    def test_with_a_bound_that_is_no_number_the_server_is_not_asked(self, offered, site, monkeypatch, name):
        monkeypatch.setenv(name, "much")
        with pytest.raises(UserError, match=rf"{name} is 'much'. Allowed: a number of GB, > 0"):
            local_path(Path(offered))
        assert site.requests == []


def test_a_bad_file_is_refused_by_its_address(site, tmp_path, monkeypatch, cache):
    allow(monkeypatch, 1)
    site.files["/bad.tar"] = shard(tmp_path / "bad.tar", ("a.jpg", b"x")).read_bytes()
    with pytest.raises(UserError, match=rf"^{site.url}/bad.tar: 'a.jpg' has no label"):
        local_path(Path(f"{site.url}/bad.tar"))
    assert not [*cache.rglob("*.part")]


def test_an_index_outside_of_the_cache_is_not_read(offered, cache, tmp_path, root):
    """It could name any address: who brings a folder of photos must not choose what this machine asks for."""
    local_path(Path(offered))
    [copy] = [path for path in (cache / "remote").iterdir() if path.is_dir()]
    copy.rename(tmp_path / "brought")
    with pytest.raises(UserError, match="not a whole, uncompressed tar file"):
        read(tmp_path / "brought" / "files" / ALL_IN)


def test_a_copied_file_that_looks_like_an_index_is_a_bad_tar_file(site, tmp_path):
    site.files["/x.tar"] = json.dumps({"address": "http://127.0.0.1/secret"}).encode()
    with pytest.raises(UserError, match="not a whole, uncompressed tar file"):
        read(f"{site.url}/x.tar")


def test_a_part_is_not_read_from_a_machine_of_this_network_by_a_redirect(offered, nothing_kept, site, monkeypatch):
    """The server of the set counts as outside here; what it redirects to does not."""
    place = locations(offered)[0]
    own, connect = int(site.url.rpartition(":")[2]), adapter._connect

    def connect_to(host, port, timeout_s, *, guarded=False):
        return connect(host, port, timeout_s, guarded=guarded and port != own)

    monkeypatch.setattr(adapter, "_connect", connect_to)
    monkeypatch.setattr(session, "is_private_host", lambda host: False)
    remote_span._store.cache_clear()
    with serving() as inside:
        path = "/s/" + place.file.address.rpartition("/")[2]
        inside.files["/secret.tar"] = site.files.pop(path)
        site.redirects[path] = f"{inside.url}/secret.tar"
        with pytest.raises(Unreachable, match=r"leads to 127.0.0.1, a machine of this network: refused"):
            place.read()
        assert inside.requests == []
