"""Archives on disk, and what unpacking them leaves there."""

import pytest

from flowerml.data.download.archive import BadArchive, unpack
from flowerml.data.download.flower_photos import unpack_photos
from flowerml.errors import UserError
from tests.data.download.archive_server import PHOTOS, digest, file_member, tgz, tree

GOOD = [(file_member(name, len(data)), data) for name, data in PHOTOS.items()]


def put_archive(tmp_path, data):
    path = tmp_path / "archive.tgz"
    path.write_bytes(data if isinstance(data, bytes) else tgz(data))
    return path


def photos(tmp_path, data):
    archive = put_archive(tmp_path, data)
    return unpack_photos(tmp_path / "data" / "train", archive, digest(archive.read_bytes()))


def refusal(tmp_path, data):
    """The message; no folder, no half of it, and nothing new anywhere else."""
    archive = put_archive(tmp_path, data)
    (tmp_path / "data").mkdir(exist_ok=True)
    before = tree(tmp_path)
    with pytest.raises(BadArchive) as caught:
        photos(tmp_path, archive.read_bytes())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(archive))
    assert tree(tmp_path) == before
    assert list((tmp_path / "data").iterdir()) == []
    return message


def outcome(archive, target):
    """The refusal's message, or nothing where it was unpacked."""
    try:
        unpack(archive, target, lambda stage: stage)
    except UserError as error:
        return str(error)
    return ""
