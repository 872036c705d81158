"""Tables with the columns path and label: what is read, how paths are written, what is refused with its line."""

import os
import unicodedata

import pytest

from flowerml.data.sources.table.csv_table import read_table_list
from flowerml.errors import UserError
from tests.data.pictures import put, put_classes, put_scene
from tests.data.sources.tables import read, table_of

COUNTS = {"daisy": 3, "rose": 2}


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


@pytest.fixture
def table(root):
    """A function that writes the text as a table beside the folder and returns its path."""
    return lambda text, name="photos.csv": put(
        root.parent / name, text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    )


def keys(path, **options):
    return [file.key for file in read(path, **options).files]


def test_a_table_is_the_folder_whatever_its_separator_mark_quotes_and_further_columns(root, table):
    folder = read(root)
    plain = table_of(root).read_text()
    for text in (
        plain,
        "\ufeff" + plain,
        plain.replace("\n", "\r\n"),
        plain.replace(",", ";"),
        plain.replace(",", "\t"),
        "".join(f"1,{line},x\n" for line in plain.splitlines()).replace("1,path,label,x", "n, path ,label ,note"),
        plain.replace("photos/", '"photos/').replace(".jpg", '.jpg"'),
        plain.replace("\n", "\n\n"),
    ):
        found = read(table(text))
        assert (found.classes, [file.key for file in found.files]) == (
            folder.classes,
            [file.key for file in folder.files],
        )
        assert found.remarks == ()
        assert [
            file.locate(root).samefile(same.locate(root)) for file, same in zip(found.files, folder.files, strict=True)
        ]


def test_absolute_paths_windows_separators_and_the_other_unicode_form_are_found(root, table):
    put_scene(root / unicodedata.normalize("NFD", "rosé") / "1.jpg", 77)
    found = keys(table(f"path,label\n{root}/daisy/00.jpg,daisy\nphotos\\rose\\00.jpg,rose\nphotos/rosé/1.jpg,rosé\n"))
    assert found == ["daisy/00.jpg", "rose/00.jpg", "rosé/1.jpg"]


def test_paths_out_of_the_folder_are_taken_and_said(root, tmp_path):
    path = put(
        tmp_path / "lists" / "some.csv", b"path,label\n../photos/rose/00.jpg,rose\n../photos/daisy/00.jpg,daisy\n"
    )
    layout = read(path)
    assert [file.key for file in layout.files] == ["daisy/00.jpg", "rose/00.jpg"]
    assert layout.remarks == ("2 of 2 pictures of some.csv lie outside of its folder",)
    assert all(file.locate(path).is_file() for file in layout.files)


def test_links_are_pictures_of_their_own_as_in_a_folder(root, table):
    (root / "rose" / "link.jpg").symlink_to("00.jpg")
    assert keys(table_of(root)) == [file.key for file in read(root).files]


REFUSED = {
    "not there": (None, r"list of pictures '.*none.csv' can't be read: No such file or directory"),
    "empty": (b"", r"needs one column path and one label; its first line has none. Write the header path,label"),
    "no header": (b"photos/rose/00.jpg,rose\n", r"its first line has photos/rose/00.jpg, rose"),
    "another column": (b"file,label\na.jpg,rose\n", r"needs one column path; its first line has file, label"),
    "two columns of labels": (b"path,label,label\na,b,c\n", r"needs one column label; its first line has path, label,"),
    "no rows": (b"path,label\n\n", r"no rows below the header: add a row per picture"),
    "Latin-1": ("path,label\nphotos/rose/00.jpg,ros\xe9\n".encode("latin-1"), r"line 2: not UTF-8. Save the table"),
    "UTF-16": ("path,label\n".encode("utf-16"), r"line 1: not UTF-8"),
    "an open quote": (
        b'path,label\n"photos/rose/00.jpg,rose\n',
        r"can't be read as a table \(unexpected end of data\)",
    ),
    "a picture that is not there": (
        b"path,label\nphotos/rose/00.jpg,rose\nx.jpg,rose\n\ny.jpg,daisy\n",
        r"photos.csv: 2 of 3 files are not there \(paths are relative to its folder\), the first in line 3:"
        r" 'x.jpg'\n  line 5: 'y.jpg'$",
    ),
    "no path": (b"path,label\n ,rose\n", r"line 2: the path is ' ': write that of a picture"),
    "a NUL": (b"path,label\na\0b,rose\n", r"line 2: the path is 'a\\x00b'"),
    "no label": (b"path,label\nphotos/rose/00.jpg, \n", r"line 2: the label is empty: write the class of 'photos/rose"),
    "a row cut off": (b"path,label\nphotos/rose/00.jpg\n", r"line 2: the label is empty"),
    "a separator without quotes": (b"path,label\na,b.jpg,rose\n", r"line 2: more fields than the header has"),
    "a label with a slash": (b"path,label\nphotos/rose/00.jpg,a/b\n", r"line 2: the label 'a/b' is no class name"),
    "two dots": (b"path,label\nphotos/rose/00.jpg,..\n", r"line 2: the label '..' is no class name"),
    "a tab in a label": (b'path,label\nphotos/rose/00.jpg,"a\tb"\n', r"line 2: the label 'a.*tb' is no class name"),
    "a row twice": (
        b"path,label\nphotos/rose/00.jpg,rose\n./photos/../photos/rose/00.jpg,rose\n",
        r"line 3: 'photos/rose/00.jpg' is listed in line 2 too: take one of them out",
    ),
    "two labels": (
        b"path,label\nphotos/rose/00.jpg,rose\nphotos/rose/00.jpg,daisy\n",
        r"line 3: 'photos/rose/00.jpg' has the label 'daisy', and 'rose' in line 2: a picture has one class",
    ),
    "several labels in one": (
        b"path,label\nphotos/rose/00.jpg,rose\nphotos/daisy/00.jpg,daisy\nphotos/rose/01.jpg,rose;daisy\n",
        r"line 4: the label 'rose;daisy' names several classes: a picture has one. Several labels of a picture"
        r" \(multi-label\) are not supported",
    ),
    "several labels as a list": (
        b"path,label\nphotos/rose/00.jpg,rose\nphotos/daisy/00.jpg,daisy\nphotos/rose/01.jpg,\"['rose', 'daisy']\"\n",
        r"line 4: the label .* names several classes",
    ),
    "one class": (
        b"path,label\nphotos/rose/00.jpg,rose\n",
        r"only one class \(rose\): a classifier needs at least two",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_table_is_refused_with_its_line(table, root, case):
    text, message = REFUSED[case]
    path = root.parent / "none.csv" if text is None else table(text)
    with pytest.raises(UserError, match=message) as refused:
        read(path)
    assert str(refused.value).count("\n") == len(refused.value.args[1:] and refused.value.args[1])


def test_a_folder_in_place_of_a_picture_is_found_and_refused_when_it_is_read(table, root):
    """As any file that is no picture: with the others, by path and reason."""
    from flowerml.data.scan import scan_folder

    path = table("path,label\nphotos/rose,rose\nphotos/daisy/00.jpg,daisy\n")
    scanned = scan_folder(path, read(path))
    assert [(bad.file, bad.reason) for bad in scanned.bad] == [("photos/rose", "not a regular file")]


def test_a_table_that_may_not_be_read_is_refused(table):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = table("path,label\n")
    path.chmod(0)
    with pytest.raises(UserError, match=r"can't be read: Permission denied"):
        read_table_list(path)
