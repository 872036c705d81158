"""Calls of `fetch_photos` without waits, and checks of what it leaves on disk."""

import json

import pytest

from flowerml.data.download import archive as unpack
from flowerml.data.download.flower_photos import fetch_photos
from flowerml.errors import UserError
from tests.data.download.archive_server import PHOTOS, digest, tgz

ARCHIVE = tgz(PHOTOS)


SHA = digest(ARCHIVE)


NO_DELAYS = (0, 0, 0, 0)


WAYS = ("--archive FILE", "--url", "photos of your own into one sub-folder per class", "flowerml dataset make")


def fetch(train, server, sha256=SHA, **options):
    return fetch_photos(
        train, server if isinstance(server, str) else server.url, sha256, retry_delays_s=NO_DELAYS, **options
    )


def refusal(train, *arguments, **options):
    """The message; the train folder must not have come into being, nor its half."""
    with pytest.raises(UserError) as caught:
        fetch(train, *arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert not train.exists()
    assert not unpack.unpacking_dir(train).exists()
    return message


def names_beside(train):
    """Names in the folder around the train folder, but for it."""
    return sorted(path.name for path in train.parent.iterdir() if path != train) if train.parent.exists() else []


PART = f".flower_photos.tgz.{SHA[:8]}.part"


def put_part(train, data, note=None):
    train.parent.mkdir(parents=True)
    (train.parent / PART).write_bytes(data)
    if note is not None:
        (train.parent / f"{PART}.json").write_text(json.dumps(note))
