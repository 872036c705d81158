"""Parquet files on a server that do not fit the bound of copies: their pictures are read from there by row group."""

import multiprocessing
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet

from flowerml.data.decode import BadImage
from flowerml.data.loader import evaluation_loader, training_loader
from flowerml.data.location import Unreachable
from flowerml.data.scan import scan_folder
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.local import local_path
from flowerml.data.sources.remote import remote_span, row_groups
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.data.sources.remote.row_groups import RemoteRow
from flowerml.errors import RunFailed, UserError
from tests.data.pictures import encode, put_classes, scene
from tests.data.sources.parquet_files import parquet_of, write
from tests.data.sources.remote.reading import EVALUATION, digest, examples_of, locations
from tests.data.sources.tables import read

COUNTS = {"daisy": 5, "rose": 4, "tülip": 4}
TEXT = pyarrow.string()
ALL_IN = "train-{00000..00001}-of-00002.parquet"


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


@pytest.fixture
def files(root, tmp_path):
    """Two files of several row groups, compressed with snappy, which is pyarrow's own choice."""
    folder = parquet_of(root, tmp_path / "files")
    for path in folder.iterdir():
        metadata = parquet.read_metadata(path)
        assert metadata.num_row_groups == 2
        assert metadata.row_group(0).column(0).compression == "SNAPPY"
    return folder


@pytest.fixture
def offered(files, site, monkeypatch):
    """The address of two files of which none fits."""
    monkeypatch.setenv(COPIES_VARIABLE, "1e-9")
    site.put_folder(files, "p/")
    return f"{site.url}/p/{ALL_IN}"


@pytest.fixture(autouse=True)
def forget():
    """A function that forgets what the memory of this process has of files, as another process would."""

    def forget():
        row_groups._group_memory.cache_clear()
        row_groups._metadata.cache_clear()

    forget()
    return forget


@pytest.fixture
def nothing_kept(monkeypatch):
    """No picture is kept, on disk or in memory but for one group: other groups ask the server."""
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    monkeypatch.setattr(row_groups, "_MEMORY_BYTES", 0)


def content(root):
    return [path.read_bytes() for path in sorted(root.rglob("*.jpg"))]


class TestListing:
    def test_the_set_is_the_folder_and_a_line_says_what_stays_there(self, offered, root, files, cache, capsys):
        assert digest(offered) == digest(root)
        assert [file.key for file in read(offered).files] == [file.key for file in read(root).files]
        assert {path.stat().st_size for path in cache.rglob("*.parquet")} == {0}
        assert "0 of 2 files (0 B) are copied to " in capsys.readouterr().err
        assert not [path for path in cache.rglob("*") if path.suffix in (".part", ".pictures")]

    def test_names_and_messages_are_those_of_the_copy(self, root, site, tmp_path, monkeypatch):
        """Also of pictures that have no name, which are called after the file and the row."""
        path = write(
            tmp_path / "plain.parquet",
            {"image": (content(root), pyarrow.large_binary()), "label": (["rose", "tulip"] * 6 + ["rose"], TEXT)},
        )
        site.files["/plain.parquet"] = path.read_bytes()
        copied = read(f"{site.url}/plain.parquet")
        assert (local_path(Path(f"{site.url}/plain.parquet"))).stat().st_size
        monkeypatch.setenv(COPIES_VARIABLE, "1e-9")
        site.files["/q/plain.parquet"] = path.read_bytes()
        streamed = read(f"{site.url}/q/plain.parquet")
        assert [file.key for file in streamed.files] == [file.key for file in copied.files]
        assert [file.location.read() for file in streamed.files] == [file.location.read() for file in copied.files]
        assert all(isinstance(file.location, RemoteRow) for file in streamed.files)
        assert digest(f"{site.url}/q/plain.parquet") == digest(path)

    def test_what_fits_is_copied_in_order(self, root, files, site, cache, monkeypatch):
        first, second = (file.stat().st_size for file in sorted(files.iterdir()))
        monkeypatch.setenv(COPIES_VARIABLE, f"{(first + second - 1) / 1e9:.12f}")
        site.put_folder(files, "p/")
        assert digest(f"{site.url}/p/{ALL_IN}") == digest(root)
        assert [path.stat().st_size > 0 for path in sorted(cache.rglob("*.parquet"))] == [True, False]

    def test_the_rest_once_more_is_allowed(self, offered, root, cache, again, monkeypatch):
        digest(offered)
        again()
        monkeypatch.setenv(COPIES_VARIABLE, "1")
        assert digest(offered) == digest(root)
        assert all(path.stat().st_size for path in cache.rglob("*.parquet"))
        assert not [*cache.glob("remote/*/indexes/*")]

    def test_it_is_listed_once_and_scanned_once(self, offered, root, site, again, nothing_kept):
        """Each file is fetched whole once; a start after it, and a scan, ask for versions and one byte alone."""
        for requests in (["GET"] * 2 + ["PART"], ["PART"]):
            path = local_path(Path(offered))
            assert scan_folder(path, read(path), ScanCache(path)).digest == digest(root)
            assert sorted(method for method, _ in site.requests if method != "HEAD") == requests
            site.requests.clear()
            again()

    def test_a_bad_file_is_refused_by_its_address(self, offered, files, site, cache):
        site.files["/p/train-00001-of-00002.parquet"] = site.files["/p/train-00001-of-00002.parquet"][:-30]
        with pytest.raises(
            UserError, match=rf"^{site.url}/p/train-00001-of-00002.parquet: can't be read as Parquet"
        ) as refused:
            local_path(Path(offered))
        assert "\n" not in str(refused.value)
        assert not [*cache.rglob("*.part")]

    def test_a_group_that_is_too_large_is_refused_in_one_line(self, offered, monkeypatch):
        """The copy of the file is read: only its bytes by range need the whole group in memory."""
        monkeypatch.setattr(row_groups, "MAX_GROUP_BYTES", 2000)
        with pytest.raises(
            UserError, match=r"parquet: the pictures of row group 0 have more than 2.*row_group_size=100"
        ) as refused:
            local_path(Path(offered))
        assert "\n" not in str(refused.value)

    def test_files_beside_them_that_a_column_names_are_read_as_before(self, root, site, tmp_path, monkeypatch):
        """Not copied with the file: the same error as of a copied one."""
        monkeypatch.setenv(COPIES_VARIABLE, "1e-9")
        path = write(tmp_path / "a.parquet", {"path": (["x.jpg", "y.jpg"], TEXT), "label": (["rose", "tulip"], TEXT)})
        site.files["/a.parquet"] = path.read_bytes()
        with pytest.raises(UserError, match=r"2 of 2 files are not there .*row 0: 'x.jpg'"):
            read(f"{site.url}/a.parquet")


class TestPictures:
    def test_are_kept_when_their_file_is_listed(self, offered, site, root):
        found = locations(offered)
        site.parts_read()
        assert [place.read() for place in found] == content(root)
        assert site.parts_read() == 0

    def test_of_a_group_come_with_one_request_and_then_from_the_disk(self, offered, site, cache, root, forget):
        found = locations(offered)
        shutil.rmtree(cache / "streamed")
        site.parts_read()
        assert [place.read() for place in found] == content(root)
        assert site.parts_read() == 2 * (1 + 2), "of two files the end and two groups"
        forget()
        assert [place.read() for place in found] == content(root)
        assert site.parts_read() == 0
        shutil.rmtree(cache / "streamed")
        assert [place.read() for place in found] == content(root)
        assert site.parts_read() == 2 * (1 + 2)

    def test_of_the_last_group_stay_in_memory_where_none_may_be_kept(self, offered, site, nothing_kept, root):
        found = sorted(locations(offered), key=lambda place: (place.group.file.address, place.row))
        groups = len({place.group for place in found})
        site.parts_read()
        for _ in range(2):
            assert sorted(place.read() for place in found) == sorted(content(root))
        assert site.parts_read() == 2 * groups + 2, "the ends of the two files are asked for once"

    def test_that_were_damaged_on_disk_are_asked_for_again(self, offered, site, cache, root, forget):
        found = locations(offered)
        for file in (cache / "streamed").glob("??/*"):
            file.write_bytes(file.read_bytes()[:-1] + b"x")
        assert [place.read() for place in found] == content(root)

    def test_are_asked_for_once_by_any_number_of_threads(self, offered, site, root, nothing_kept, monkeypatch):
        monkeypatch.setattr(row_groups, "_MEMORY_BYTES", 10**9)
        found = locations(offered)
        site.parts_read()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(RemoteRow.read, found * 3)) == content(root) * 3
        assert site.parts_read() <= 2 * 2 + 2 * 8, "groups once; the end of a file at most once for each thread"

    def test_only_the_column_with_the_pictures_is_asked_for(self, site, tmp_path, monkeypatch, nothing_kept, cache):
        monkeypatch.setenv(COPIES_VARIABLE, "1e-9")
        large = [str(number) * 2_000_000 for number in range(2)]
        table = {
            "image": ([encode(scene(1), "JPEG"), encode(scene(2), "JPEG")], pyarrow.binary()),
            "label": (["rose", "tulip"], TEXT),
            "text": (large, TEXT),
        }
        path = write(tmp_path / "a.parquet", table)
        parquet.write_table(parquet.read_table(path), path, compression="none", use_dictionary=False)
        site.files["/a.parquet"] = path.read_bytes()
        asked = []
        place = locations(f"{site.url}/a.parquet")[0]
        monkeypatch.setattr(remote_span.RemoteFile, "read", _noting(remote_span.RemoteFile.read, asked), raising=True)
        assert place.read() == encode(scene(1), "JPEG")
        assert max(asked) < 100_000

    def test_are_read_by_other_processes(self, offered, nothing_kept, root):
        found = locations(offered)
        assert [place.read() for place in found] == content(root)
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                assert pool.map(RemoteRow.read, found, chunksize=1) == content(root)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_give_the_batches_of_the_folder(self, offered, nothing_kept, root, workers):
        """Evaluated in their order, and drawn in that of a training, also from its middle on, as after a stop."""
        for load, skip in (
            (partial(evaluation_loader, batch_size=3), 0),
            (partial(training_loader, batch_size=3, seed=5), 0),
            (partial(training_loader, batch_size=3, seed=5), 2),
        ):
            expected = [*load(examples_of(root), EVALUATION, workers=0).epoch(2, skip)]
            found = [*load(examples_of(offered), EVALUATION, workers=workers).epoch(2, skip)]
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one[0], other[0])
                assert one[2] == other[2]

    def test_have_the_same_state_in_every_process(self, offered):
        found = locations(offered)
        copied = pickle.loads(pickle.dumps(found))
        assert copied == found
        assert [place.state() for place in copied] == [place.state() for place in found]
        assert len({tuple(place.state()) for place in found}) == len(found)
        assert len({place.key for place in found}) == len(found)


def _noting(read, asked):
    def noting(self, offset, size):
        asked.append(size)
        return read(self, offset, size)

    return noting


class TestFaults:
    @pytest.fixture
    def place(self, offered, nothing_kept, at_once, site):
        found = locations(offered)[0]
        site.parts_read()
        return found

    def test_a_server_that_fails_a_few_times_is_asked_again(self, place, site, root):
        site.part_statuses = [503, 429]
        assert place.read() == content(root)[0]
        assert site.parts_read() == 4

    @pytest.mark.parametrize("has_end", [False, True])
    def test_a_server_that_fails_for_good_is_one_line(self, place, site, root, has_end, forget):
        if has_end:
            place.read()
            row_groups._group_memory.cache_clear()
        site.part_statuses = [503] * 3
        with pytest.raises(Unreachable, match=r"can't be read \(the server answers 503 .*\). Try again") as failed:
            place.read()
        assert "\n" not in str(failed.value)
        assert place.read() == content(root)[0], "and it is asked again when it is back"

    @pytest.mark.parametrize("has_end", [False, True])
    def test_a_file_that_was_replaced_is_never_mixed_with_the_one_that_was_listed(self, place, site, has_end):
        if has_end:
            place.read()
            row_groups._group_memory.cache_clear()
        path = "/p/" + place.group.file.address.rpartition("/")[2]
        for data in (site.files[path][:-1] + b"\1", b"short", b""):
            site.files[path] = data
            with pytest.raises(Unreachable, match="has changed on the server since its pictures were listed: start"):
                place.read()
        del site.files[path]
        with pytest.raises(Unreachable, match=r"not there \(the server answers 404"):
            place.read()

    def test_bytes_that_are_no_group_are_one_line(self, place, site, monkeypatch):
        """Of a server that gives other bytes under the tag of the file."""
        place.read()
        row_groups._group_memory.cache_clear()
        monkeypatch.setattr(remote_span.RemoteFile, "read", lambda _, __, size: b"\xff" * size)
        with pytest.raises(BadImage, match=r"row group \d+: can't be read as Parquet \(") as failed:
            place.read()
        assert not isinstance(failed.value, Unreachable)
        assert "\n" not in str(failed.value)

    def test_a_training_ends_in_one_line_that_names_the_picture(self, offered, nothing_kept, at_once, site):
        loader = evaluation_loader(examples_of(offered), EVALUATION, batch_size=2, workers=0)
        site.part_statuses = [503] * 100
        with pytest.raises(
            RunFailed, match=r"picture can't be read any more: .*jpg: http.*server answers 503"
        ) as failed:
            list(loader.epoch(1))
        assert "\n" not in str(failed.value)

    def test_a_server_without_parts_is_refused(self, offered, site):
        site.parts = False
        with pytest.raises(UserError, match=r"Without a copy .*the server gives whole files only"):
            local_path(Path(offered))
