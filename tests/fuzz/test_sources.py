"""Lists of pictures in place of a folder: a damaged tar, Parquet file or table is refused in one line, or read."""

import io
import tarfile
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from PIL import Image

from flowerml.data.decode import BadImage
from flowerml.data.location import read_location
from flowerml.data.sources import packed
from flowerml.data.sources.reading import read_source
from flowerml.errors import UserError
from tests.data.pictures import encode
from tests.fuzz.conftest import fuzz
from tests.fuzz.mutations import changed

CLASSES = ("rose", "tulip")
PHOTOS = [
    encode(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)), "JPEG")
    for seed in range(3)
]


def _tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for number, photo in enumerate(PHOTOS):
            for name, data in ((f"{number}.jpg", photo), (f"{number}.cls", CLASSES[number % 2].encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _parquet() -> bytes:
    rows = [{"bytes": photo, "path": f"{number}.jpg"} for number, photo in enumerate(PHOTOS)]
    table = pa.table({"image": rows, "label": [CLASSES[number % 2] for number in range(len(PHOTOS))]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


TARS = [_tar(tarfile.USTAR_FORMAT), _tar(tarfile.PAX_FORMAT), _tar(tarfile.GNU_FORMAT)]
TABLE = b'path,label\nphotos/0.jpg,rose\nphotos/1.jpg,tulip\n"photos/2.jpg",rose\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERML_CACHE_DIR", str(tmp_path / "in" / "cache"))


@pytest.fixture(scope="module", autouse=True)
def _written_long_ago():
    """A Parquet file of just now is waited for, as it may still be written: 3.5 s for each input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_SETTLING_S", 0)
        yield


def read_or_refuse(path: Path) -> None:
    try:
        layout = read_source(path, CLASSES, {})
    except UserError as error:
        assert str(error)
        assert len(str(error).splitlines()) <= 21, "a line, and examples one per line"
        return
    for found in layout.files:
        try:
            read_location(found.locate(path))
        except BadImage as error:
            assert str(error)


@fuzz
@given(changed(TARS))
def test_tar_files(data):
    Path("a.tar").write_bytes(data)
    read_or_refuse(Path("a.tar"))


@fuzz
@given(changed([_parquet()]))
def test_parquet_files(data):
    path = Path(f"{uuid.uuid4().hex}.parquet")  # of its own: what has been read of a file is kept
    path.write_bytes(data)
    read_or_refuse(path)
    path.unlink()


@fuzz
@given(changed([TABLE]))
def test_tables_of_pictures(data):
    folder = Path("photos")
    folder.mkdir(exist_ok=True)
    for number, photo in enumerate(PHOTOS):
        (folder / f"{number}.jpg").write_bytes(photo)
    Path("a.csv").write_bytes(data)
    read_or_refuse(Path("a.csv"))
