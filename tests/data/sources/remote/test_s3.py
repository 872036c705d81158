"""Pictures in S3, from a server that speaks its protocol on the loopback, by the real s3fs."""

import multiprocessing
import sys
from pathlib import Path

import pytest

from flowerml.data.location import Unreachable
from flowerml.data.sources.local import local_path
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.errors import UserError
from tests.data.pictures import encode, put, put_classes, scene
from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.remote.reading import digest
from tests.data.sources.shards import shards_of
from tests.data.sources.tables import read, table_of

pytest.importorskip("s3fs")
server_of_moto = pytest.importorskip("moto.server")
COUNTS = {"daisy": 3, "rose": 2}


@pytest.fixture(scope="module")
def server():
    server = server_of_moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch, tmp_path):
    """A function that puts a local folder's files below a prefix of an empty bucket; a client as attribute."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of S3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="photos")

    def put_folder(root, prefix=""):
        for file in root.rglob("*"):
            if file.is_file():
                client.put_object(
                    Bucket="photos", Key=f"{prefix}{file.relative_to(root).as_posix()}", Body=file.read_bytes()
                )

    put_folder.client = client
    yield put_folder
    for entry in client.list_objects_v2(Bucket="photos").get("Contents", ()):
        client.delete_object(Bucket="photos", Key=entry["Key"])
    client.delete_bucket(Bucket="photos")


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "local" / "flowers", COUNTS)


def test_a_folder_of_classes_with_all_that_lies_in_it(bucket, root, again, cache):
    put(root / "rose" / "notes.txt", b"notes")
    put(root / "rose" / "é é" / "a photo", encode(scene(5), "JPEG"))
    bucket(root, "data/flowers/")
    bucket.client.put_object(Bucket="photos", Key="data/flowers/rose/", Body=b"")  # what consoles make of a folder
    bucket(put_classes(root.parent / "other", {"tulip": 1}), "data/flowers-of-others/")
    assert digest("s3://photos/data/flowers") == digest(root)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.jpg")}
    again()
    put(root / "rose" / "00.jpg", encode(scene(6), "JPEG"))
    (root / "daisy" / "00.jpg").unlink()
    bucket.client.delete_object(Bucket="photos", Key="data/flowers/daisy/00.jpg")
    bucket(root, "data/flowers/")
    assert digest("s3://photos/data/flowers/") == digest(root)
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*.jpg")}
    assert [path.name for path in after if before.get(path) != after[path]] == ["00.jpg"], "one was fetched again"
    assert len(after) == len(before) - 1


def test_tables_tar_and_parquet_files_and_folders_of_them(bucket, root, tmp_path):
    bucket(root.parent, "t/")
    bucket.client.put_object(Bucket="photos", Key="t/photos.csv", Body=table_of(root).read_bytes())
    bucket(shards_of(root, tmp_path / "s"), "s/")
    bucket(parquet_of(root, tmp_path / "p"), "p/")
    for address in ("t/photos.csv", "s", "s/flowers-{000..002}.tar", "p"):
        assert digest(f"s3://photos/{address}") == digest(root), address


def test_tar_files_that_do_not_fit_are_read_from_there(bucket, root, tmp_path, cache, monkeypatch):
    """Of a folder and of a pattern, with the names of classes beside them; a file that is replaced is refused."""
    monkeypatch.setenv(COPIES_VARIABLE, "0.000001")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    bucket(shards_of(root, tmp_path / "s"), "s/")
    bucket.client.put_object(Bucket="photos", Key="s/classes.txt", Body=b"daisy\nrose\n")
    for address in ("s3://photos/s", "s3://photos/s/flowers-{000..002}.tar"):
        assert digest(address) == digest(root), address
    assert {path.stat().st_size for path in cache.rglob("*.tar")} == {0}
    place = read("s3://photos/s").files[0].location
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(type(place).read, [place] * 4, chunksize=1) == [place.read()] * 4
    key = place.file.address.removeprefix("s3://photos/")
    whole = bucket.client.get_object(Bucket="photos", Key=key)["Body"].read()
    bucket.client.put_object(Bucket="photos", Key=key, Body=whole + b"x")
    with pytest.raises(Unreachable, match="has changed on the server since its pictures were listed: start again"):
        place.read()
    bucket.client.delete_object(Bucket="photos", Key=key)
    with pytest.raises(Unreachable, match=r"flowers-.*tar: not there"):
        place.read()


def test_parquet_files_that_do_not_fit_are_read_from_there(bucket, root, tmp_path, cache, monkeypatch):
    """Of a folder, by other processes too."""
    monkeypatch.setenv(COPIES_VARIABLE, "0.000001")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    bucket(parquet_of(root, tmp_path / "p"), "p/")
    assert digest("s3://photos/p") == digest(root)
    assert {path.stat().st_size for path in cache.rglob("*.parquet")} == {0}
    place = read("s3://photos/p").files[0].location
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(type(place).read, [place] * 4, chunksize=1) == [place.read()] * 4


def test_a_folder_of_tar_and_parquet_files_is_of_neither_form_and_copied(bucket, root, tmp_path, monkeypatch):
    monkeypatch.setenv(COPIES_VARIABLE, "0.000001")
    bucket(parquet_of(root, tmp_path / "p"), "m/")
    bucket(shards_of(root, tmp_path / "s"), "m/")
    with pytest.raises(UserError, match=r"Tar \(WebDataset\) and Parquet files need no copy"):
        local_path(Path("s3://photos/m"))


def test_what_is_not_there_is_one_line(bucket, root):
    bucket(root, "flowers/")
    for address, message in {
        "photos/none": r"s3://photos/none: no objects there",
        "photos/none.csv": r"s3://photos/none.csv: not there",
        "nobucket/none.csv": r"s3://nobucket/none.csv: not there",
        "nobucket": r"s3://nobucket: (not there|no objects there)",
    }.items():
        with pytest.raises(UserError, match=message) as refused:
            local_path(Path(f"s3://{address}"))
        assert "\n" not in str(refused.value)


def test_names_that_no_file_can_have_are_refused(bucket):
    bucket.client.put_object(Bucket="photos", Key="x/../../a.jpg", Body=b"x")
    with pytest.raises(UserError, match=r"'../../a.jpg' is no name that a file can have: rename it there"):
        local_path(Path("s3://photos/x"))


def test_without_credentials_it_says_which(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=r"no credentials for S3. Give AWS_ACCESS_KEY_ID .* FSSPEC_S3_ANON=true"):
        local_path(Path("s3://photos/x"))


def test_a_server_that_can_not_be_reached_is_one_line(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"s3://photos/x.csv can't be read \(.*127.0.0.1:9") as refused:
        local_path(Path("s3://photos/x.csv"))
    assert "\n" not in str(refused.value)


def test_without_s3fs_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r'needs s3fs: pip install "flowerml\[s3\]"'):
        local_path(Path("s3://photos/x"))
