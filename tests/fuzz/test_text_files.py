"""Plans, settings, tables, annotations, journals: a damaged one is refused in one line, or read; nothing else."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerml.campaign.plan.parser import read_plan
from flowerml.cli.main import main
from flowerml.data.relations.formats import read_annotations
from flowerml.data.table import parse_table
from flowerml.errors import UserError
from flowerml.events import Artifact, Metrics, Params, Tags
from flowerml.journal.records import RunStarted, decode_record, encode_record
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.settings import resolve
from flowerml.settings.declaration import fields
from tests.conftest import ROOT
from tests.data.relations.annotation_files import visual_genome, vrd
from tests.fuzz.conftest import fuzz
from tests.fuzz.mutations import changed

PLANS = [(ROOT / "flowerml/campaign/plan/shipped" / f"{name}.yaml").read_bytes() for name in ("demo", "tp3")]
SMALL_PLAN = b"plan: p\nphases:\n  A:\n    runs:\n      a: {model: convnextv2_atto, epochs: 2, seed: [1, 2]}\n"
RECORDS = [
    encode_record(record, Path("/run"))
    for record in (
        RunStarted("j", "flowers", "run", "host", settings={"seed": 11}),
        Params({"seed": "11"}),
        Metrics({"loss": 0.5, "nan": float("nan")}, step=3),
        Tags({"flowerml.kind": "train"}),
        Artifact(Path("/run/best.pth")),
    )
]
TABLE = b'image,predicted,p_rose\na.jpg,rose,0.5\n"b\n.jpg",tulip,0.25\n'
HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "",
        "nan",
        "inf",
        "-1",
        "1e400",
        "0x10",
        "auto",
        "none",
        "\x00",
        "../..",
        "٣",
        "1_000",
        "true",
        " 1 ",
        "{}",
        "9" * 400,
    ]
)


def one_line(error: UserError) -> None:
    text = str(error)
    assert text
    assert "Traceback" not in text
    assert len(text) < 5000


@fuzz
@given(changed([*PLANS, SMALL_PLAN]))
def test_plans(data):
    path = Path("plan.yaml")
    path.write_bytes(data)
    try:
        read_plan(str(path))
    except UserError as error:
        one_line(error)


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(fields())), HOSTILE, max_size=5))
def test_settings(given_values):
    try:
        resolve({"train_dir": "photos", **given_values})
    except UserError as error:
        one_line(error)


@fuzz
@given(
    command=st.sampled_from(["train", "eval", "predict", "select", "export", "sweep", "campaign"]),
    words=st.lists(HOSTILE | st.sampled_from(["--model", "--epochs", "--train-dir", "-q", "--json", "--"]), max_size=6),
)
def test_flags(command, words):
    """Also of those that would start something: with a flag that no command has, none does."""
    words = [word for word in words if word not in ("-h", "--help")]
    assert main([command, "--no-such-flag", *words]) == 2


@fuzz
@given(changed([TABLE]) | st.binary(max_size=200))
def test_tables(data):
    try:
        parse_table(data.decode("utf-8", "surrogateescape"))
        parse_table(data.decode("utf-8", "surrogateescape"), strict=True)
    except csv.Error as error:
        assert str(error)


@fuzz
@given(data=changed(RECORDS))
def test_journal_lines(data):
    """A changed line is noticed; the checksum is of its text."""
    for line in data.splitlines(keepends=True):
        try:
            record = decode_record(line, Path("/run"))
        except ValueError as error:
            assert str(error)
        else:
            assert encode_record(record, Path("/run")).rstrip(b"\n") in [known.rstrip(b"\n") for known in RECORDS]


@fuzz
@given(data=changed([b'{"run_id": "1", "config_id": "2", "seed": 3, "status": "FINISHED"}']) | st.binary(max_size=80))
def test_run_files(data):
    Path("run.json").write_bytes(data)
    try:
        read_run_file(Path())
    except UserError as error:
        one_line(error)


@pytest.fixture
def annotations(tmp_path):
    """The texts of both JSON forms, and the folder they are written to."""
    made = {}
    for write in (vrd, visual_genome):
        folder = tmp_path / "in" / write.__name__
        folder.mkdir()
        path = write(folder)
        made[path] = path.read_bytes()
    return made


@fuzz
@given(st.data())
def test_annotations(annotations, data):
    path = data.draw(st.sampled_from(sorted(annotations)))
    path.write_bytes(data.draw(changed([annotations[path]])))
    try:
        read_annotations(path, {"above": "above", "ABOVE": "above"})
    except UserError as error:
        one_line(error)
    finally:
        path.write_bytes(annotations[path])


KEYS = ["relationships", "objects", "image_id", "subject", "predicate", "x", "bbox", "filename"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@fuzz
@given(ANY_JSON)
def test_annotations_of_any_json(value):
    Path("annotations.json").write_text(json.dumps(value))
    try:
        read_annotations(Path("annotations.json"), {"on": "on"})
    except UserError as error:
        one_line(error)
