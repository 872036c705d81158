"""The commands of the guide's section on other forms of the data, as they stand there; none that needs a network."""

import re
import shlex
from pathlib import Path

import pytest

from flowerml.cli.main import main
from tests.conftest import ROOT
from tests.data.pictures import put_classes
from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.shards import shards_of
from tests.data.sources.tables import table_of

GUIDE = ROOT / "docs" / "guides" / "own-photos.md"
SMALL = (
    "--model timm:test_convnext2 --weights none --img-size 32 --epochs 1 --warmup-epochs 0 --freeze-backbone-epochs 0"
    " --workers 0 --device cpu --batch-size 8"
)
COUNTS = dict.fromkeys(("daisy", "dandelion", "rose", "sunflower", "tulip"), 3)


def commands():
    """The lines of the section's blocks, but those that say that they need a network."""
    section = GUIDE.read_text("utf-8").split("## Other forms of the data\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?s)```bash\n(.*?)```", section)
    return [line for block in blocks for line in block.splitlines() if line and "# needs a network" not in line]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the commands name."""
    monkeypatch.chdir(tmp_path)
    photos, others = put_classes(tmp_path / "photos", COUNTS), tmp_path / "others"
    for place, name in enumerate(COUNTS):
        put_classes(others, {**dict.fromkeys("abcdefghij"[: place + 5], 0), name: 2})
    table_of(photos)
    shards_of(photos, tmp_path / "shards", count=4)
    parquet_of(photos, tmp_path / "data")
    parquet_of(photos, tmp_path / "one", count=1)
    (tmp_path / "one" / "train-00000-of-00001.parquet").rename(tmp_path / "data" / "train.parquet")
    table_of(others, Path("test.csv").absolute())


SECRETS = ("https://me:pw1234@host.org/photos.csv", "s3://me:pw1234@bucket/photos", "https://host.org/a.tar?sig=pw1234")


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize("words", ["train --train-dir", "train --test-dir", "dataset check --train-dir"])
def test_an_address_with_a_credential_is_refused_before_it_is_recorded(words, address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = shlex.split(SMALL) if words.startswith("train") else []
    assert main([*words.split(), address, *given]) == 2
    shown = capsys.readouterr()
    assert "pw1234" not in shown.out + shown.err
    assert shown.err.count("\n") == 1
    assert "password" in shown.err
    assert [path.name for path in tmp_path.iterdir()] in ([], ["mlflow.db"])


@pytest.mark.parametrize("action", ["make", "fetch"])
def test_pictures_are_not_written_to_an_address(action, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", action, "--train-dir", "s3://bucket/photos"]) == 2
    assert (
        "--train-dir s3://bucket/photos: pictures are written on this machine: name a folder" in capsys.readouterr().err
    )
    assert not (tmp_path / "s3:").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_the_command_of_the_guide_does_what_it_says(files, command):
    words = shlex.split(command)
    assert words[0] == "flowerml"
    given = shlex.split(SMALL) if words[1] == "train" else []
    assert main([*words[1:], *given]) == 0
