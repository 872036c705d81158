"""docs/security.md: each test that it names is there."""

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def test_every_door_has_a_test_that_exists():
    rows = [line for line in PAGE.partition("## The doors")[2].partition("## What")[0].splitlines() if "| `" in line]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert named, row
        assert [name for name in named if not (ROOT / name).is_file()] == [], row


def test_the_limits_are_those_of_the_code():
    from flowerml.app.uploads import MAX_FILE_MB, MAX_PICTURES
    from flowerml.data.decode import PIXEL_LIMIT
    from flowerml.data.download.archive import MAX_GROWTH, MAX_MEMBERS

    assert f"at most {PIXEL_LIMIT // 1_000_000} million pixels" in PAGE
    assert f"an archive {MAX_MEMBERS:,} members and {MAX_GROWTH} times" in PAGE
    assert f"up to {MAX_FILE_MB} MB and {MAX_PICTURES} at a time" in PAGE
