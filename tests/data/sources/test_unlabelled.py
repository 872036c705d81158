"""Pictures without labels: a table of paths stands for its files, beside folders and single pictures."""

import pytest

from flowerml.data.sources.unlabelled import find_unlabelled
from flowerml.errors import UserError
from tests.data.pictures import put


@pytest.fixture
def photos(tmp_path):
    """Three files in two folders; no command has opened them yet."""
    return [put(tmp_path / name, b"") for name in ("a/2.jpg", "a/1.jpg", "b/3.jpg")]


def table(path, *lines):
    return put(path, "\n".join(lines).encode())


class TestTables:
    """A `.csv` or `.tsv` with a column `path`."""

    @pytest.mark.parametrize(
        ("name", "header", "row"),
        [
            ("list.csv", "path", "{}"),
            ("list.csv", "path,label", "{},rose"),
            ("list.csv", "image;path", "x;{}"),
            ("LIST.TSV", "path\tlabel", "{}\t"),
        ],
    )
    def test_its_files_are_in_its_order_with_or_without_labels(self, tmp_path, photos, name, header, row):
        listed = table(tmp_path / name, header, *(row.format(one) for one in ("b/3.jpg", "a/1.jpg")))
        assert find_unlabelled([listed]) == ([photos[2], photos[1]], [])

    def test_folders_and_single_pictures_beside_it_and_each_picture_once(self, tmp_path, photos):
        listed = table(tmp_path / "list.csv", "path", "a/1.jpg", "a/1.jpg", "b/../b/3.jpg")
        paths, _ = find_unlabelled([photos[2], listed, tmp_path / "a"])
        assert paths == [photos[2], photos[1], photos[0]]

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (("image", "a/1.jpg"), r"needs one column path; its first line has image\. Write the header path$"),
            (("path",), "no rows below the header"),
            (("path", "a/1.jpg", "a/9.jpg"), r"1 of 2 files are not there .*line 3: 'a/9\.jpg'"),
            (("path", '""'), "line 2: the path is ''"),
        ],
    )
    def test_what_is_wrong_is_named_with_its_line(self, tmp_path, photos, lines, message):
        listed = table(tmp_path / "list.csv", *lines)
        with pytest.raises(UserError, match=message):
            find_unlabelled([listed])

    def test_a_table_that_is_not_there_is_no_such_file(self, tmp_path):
        with pytest.raises(UserError, match="no such file or folder"):
            find_unlabelled([tmp_path / "list.csv"])
