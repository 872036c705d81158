"""Parquet files: the pictures of each kind of column, read once into the cache, and what is refused."""

import random
import sys

import pyarrow
import pytest

from flowerml.data.decode import BadImage
from flowerml.data.scan import scan_folder
from flowerml.data.scan_cache import CACHE_DIR_VARIABLE
from flowerml.data.sources import parquet as reader
from flowerml.data.sources.packed import read_rows, write_packed
from flowerml.errors import UserError
from tests.data.pictures import encode, put_classes, scene
from tests.data.sources.parquet_files import IMAGE, images, parquet_of, write
from tests.data.sources.tables import read

COUNTS = {"daisy": 4, "rose": 3, "tulip": 3}
TEXT, NUMBER = pyarrow.string(), pyarrow.int64()
JPEG, OTHER = encode(scene(1), "JPEG"), encode(scene(2), "JPEG")
BINARY = ([JPEG, OTHER], pyarrow.binary())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and no wait for a file that was written just now."""
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("flowerml.data.scan_cache._MIN_AGE_NS", -(10**12))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


def keys(path, **options):
    return [file.key for file in read(path, **options).files]


def test_each_kind_of_columns_is_the_folder(root, tmp_path):
    expected = scan_folder(root, read(root))
    files = sorted(root.rglob("*.jpg"), reverse=True)
    labels = [file.parent.name for file in files]
    numbers = [sorted(COUNTS).index(label) for label in labels]
    content = [file.read_bytes() for file in files]
    data = tmp_path / "data"
    kinds = {
        "names of the schema": write(
            data / "a.parquet", {"image": images(files), "label": (numbers, NUMBER)}, [*COUNTS]
        ),
        "small numbers": write(
            data / "b.parquet", {"image": images(files), "label": (numbers, pyarrow.int8())}, [*COUNTS]
        ),
        "text": write(
            data / "c.parquet", {"image": images(files, root), "label": (labels, TEXT), "x": (numbers, NUMBER)}
        ),
        "large text": write(data / "d.parquet", {"image": images(files), "label": (labels, pyarrow.large_string())}),
        "dictionary": write(
            data / "e.parquet",
            {"image": images(files), "label": (labels, pyarrow.dictionary(pyarrow.int8(), pyarrow.string()))},
        ),
        "one group": write(data / "f.parquet", {"image": images(files), "label": (labels, TEXT)}, group=1000),
        "paths": write(
            tmp_path / "g.parquet",
            {"path": ([file.relative_to(tmp_path).as_posix() for file in files], TEXT), "label": (labels, TEXT)},
        ),
        "paths in the struct": write(
            tmp_path / "h.parquet",
            {
                "image": ([{"bytes": None, "path": file.relative_to(tmp_path).as_posix()} for file in files], IMAGE),
                "label": (labels, TEXT),
            },
        ),
    }
    for kind, path in kinds.items():
        layout = read(path)
        assert scan_folder(path, layout).digest == expected.digest, kind
        assert layout.remarks == ()
    found = read(parquet_of(root, tmp_path / "several"))
    assert [file.key for file in found.files] == [picture.key for picture in expected.pictures]
    assert [file.locate(root).read() for file in found.files] == [
        (root / picture.file).read_bytes() for picture in expected.pictures
    ]
    plain = write(data / "i.parquet", {"image": (content, pyarrow.large_binary()), "label": (labels, TEXT)})
    scanned = scan_folder(plain, read(plain))
    assert sorted(picture.sha256 for picture in scanned.pictures) == sorted(
        picture.sha256 for picture in expected.pictures
    )
    assert {picture.key for picture in scanned.pictures} >= {"tulip/i-0000000.jpg"[:-4], "daisy/i-0000009"}


def test_numbers_without_names_are_named_by_classes_txt(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": ([1, 0], NUMBER)})
    with pytest.raises(UserError, match=r"no picture of rose, tulip; .*found 0, 1 \(numbers: name their classes in a"):
        read(path, ("rose", "tulip"))
    (tmp_path / "classes.txt").write_text("tulip\nrose\n")
    assert keys(path) == ["rose/a-0000000", "tulip/a-0000001"]


def test_names_in_the_file_lead_nowhere(tmp_path):
    values = [{"bytes": JPEG, "path": "../../etc/x.jpg"}, {"bytes": OTHER, "path": "/home/rose/rose/../t.jpg"}]
    path = write(tmp_path / "a.parquet", {"image": (values, IMAGE), "label": (["rose", "tulip"], TEXT)})
    assert keys(path) == ["rose/x.jpg", "tulip/t.jpg"]


def test_the_pictures_are_copied_once_and_again_when_the_file_changes(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": (["rose", "tulip"], TEXT)})
    expected = read(path)
    (packed,) = (cache / "packed").iterdir()
    reader._rows.cache_clear()  # as another process
    with monkeypatch.context() as patch:
        patch.setattr(reader, "pictures_of", lambda *_: pytest.fail("read again"))
        assert read(path) == expected
        packed.write_bytes(packed.read_bytes()[:-1])
        reader._rows.cache_clear()
        with pytest.raises(pytest.fail.Exception, match="read again"):
            read(path)
    assert read(path) == expected
    write(path, {"image": ([OTHER, JPEG], pyarrow.binary()), "label": (["rose", "tulip"], TEXT)}, group=1)
    assert read(path).files[0].locate(path).read() == OTHER
    assert len([*(cache / "packed").iterdir()]) == 1, "the copy of the earlier file is gone"


def test_a_file_changed_just_now_is_waited_for(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("flowerml.data.scan_cache._MIN_AGE_NS", 10**10)
    monkeypatch.setattr("flowerml.data.sources.packed.time.sleep", waited.append)
    read(write(tmp_path / "a.parquet", {"image": BINARY, "label": (["rose", "tulip"], TEXT)}))
    assert waited == [3.5]


def test_a_cache_folder_that_can_not_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "file"))
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": (["rose", "tulip"], TEXT)})
    with pytest.raises(UserError, match=r"can't write .*packed.*Choose another folder") as refused:
        read(path)
    assert "\n" not in str(refused.value)


TWO = (["rose", "tulip"], TEXT)
REFUSED = {
    "no column of labels": ({"image": BINARY}, r"needs the columns image \(or path\) and label; it has image$"),
    "no pictures": ({"label": TWO}, r"needs the columns image \(or path\) and label; it has label$"),
    "no rows": ({"image": ([], IMAGE), "label": ([], TEXT)}, r"no rows in it: add a row per picture"),
    "pictures as numbers": (
        {"image": ([1, 2], NUMBER), "label": TWO},
        r"the column image has the type int64. Allowed: bytes, or a struct of bytes and path",
    ),
    "another struct": (
        {"image": ([{"a": 1}, {"a": 2}], pyarrow.struct([("a", NUMBER)])), "label": TWO},
        r"the column image has the type struct<a: int64>. Allowed",
    ),
    "paths as bytes": ({"path": BINARY, "label": TWO}, r"the column path has the type binary. Allowed: text"),
    "several labels": (
        {"image": BINARY, "label": ([["rose"], ["tulip"]], pyarrow.list_(TEXT))},
        r"the column label has several classes per picture \(list<.*>\): several labels of a picture \(multi-label\)",
    ),
    "labels as fractions": (
        {"image": BINARY, "label": ([0.5, 1.0], pyarrow.float32())},
        r"the column label has the type float. Allowed: text, or whole numbers",
    ),
    "no label": ({"image": BINARY, "label": (["rose", None], TEXT)}, r"a.parquet, row 1: the label is empty"),
    "no number": ({"image": BINARY, "label": ([0, None], NUMBER)}, r"row 1: the label is None, which stands for none"),
    "not labelled": ({"image": BINARY, "label": ([0, -1], NUMBER)}, r"row 1: the label is -1, which stands for none"),
    "no picture": ({"image": ([JPEG, None], pyarrow.binary()), "label": TWO}, r"row 1: no picture in it: take the row"),
    "an empty struct": (
        {"image": ([{"bytes": JPEG, "path": "a"}, {"bytes": None, "path": None}], IMAGE), "label": TWO},
        r"row 1: no picture in it",
    ),
    "no such file": (
        {"path": (["x.jpg", "y.jpg"], TEXT), "label": TWO},
        r"2 of 2 files are not there .*row 0: 'x.jpg'",
    ),
    "one class": ({"image": BINARY, "label": (["rose", "rose"], TEXT)}, r"only one class \(rose\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_with_its_row(tmp_path, cache, case):
    columns, message = REFUSED[case]
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError, match=message):
        read(path)
    assert not [file for file in cache.rglob("*") if file.is_file() and file.suffix != ".pictures"]


def test_a_number_beyond_the_names_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": ([0, 2], NUMBER)}, ["rose", "tulip"])
    with pytest.raises(UserError, match=r"row 1: the label is 2, and the file names 2 classes, the first of them 0"):
        read(path)


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_PICTURE_BYTES", 10)
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": TWO})
    with pytest.raises(UserError, match=r"row 0: the picture has [\d,]+ bytes \(allowed: 10\)"):
        read(path)


def test_what_is_no_whole_parquet_file_is_refused_and_leaves_nothing(tmp_path, cache):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": TWO})
    data = path.read_bytes()
    for bad in (b"", b"PAR1", data[:-20], data[: len(data) // 2], b"x" * 200):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="can't be read as Parquet") as refused:
            read(path)
        assert "\n" not in str(refused.value)
    half = bytearray(data)
    half[4:2000] = bytes(1996)
    path.write_bytes(half)
    with pytest.raises(UserError, match="can't be read as Parquet"):
        read(path)
    assert not [file for file in cache.rglob("*") if file.is_file()]
    with pytest.raises(UserError, match="1 of 1 files are not there"):
        read(tmp_path / "none.parquet")


def test_bytes_that_are_changed_anywhere_are_read_or_refused_in_one_line(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": TWO})
    data, rng = path.read_bytes(), random.Random(7)
    for number in range(100):
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.randrange(len(data) // 2 if number % 2 else 0, len(data))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            read(path)
        except UserError as refused:
            assert "\n" not in str(refused)  # noqa: PT017


def test_without_pyarrow_it_says_how_to_install_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"image": BINARY, "label": TWO})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="reading Parquet needs pyarrow: pip install pyarrow"):
        read(path)


def test_packed_files_are_whole_or_nothing(tmp_path):
    file = tmp_path / "x-1.pictures"
    assert read_rows(file) is None
    rows = write_packed(file, iter([(b"abc", ["a"]), (None, ["b"]), (b"de", ["c"])]), 5)
    assert read_rows(file) == rows == [[0, 3, "a"], [-1, 0, "b"], [3, 2, "c"]]
    data = file.read_bytes()
    for bad in (b"", data[:-1], data[1:-30], data[:-24] + b"\xff" * 8 + data[-16:]):
        file.write_bytes(bad)
        assert read_rows(file) is None

    def broken():
        yield b"abc", ["a"]
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_packed(tmp_path / "y-1.pictures", broken(), 5)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x-1.pictures"]


def test_a_picture_whose_copy_is_gone_says_so(tmp_path, cache):
    file = read(write(tmp_path / "a.parquet", {"image": BINARY, "label": TWO})).files[0]
    for packed in (cache / "packed").iterdir():
        packed.unlink()
    with pytest.raises(BadImage, match="No such file"):
        file.locate(tmp_path).read()
