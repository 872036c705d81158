"""Pictures, weights and archives of strangers: refused in one line, or read; no other exception, no file outside."""

import base64
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from PIL import Image

from flowerml.data.decode import BadImage, decode
from flowerml.data.download.archive import unpack
from flowerml.errors import UserError
from flowerml.models.weights.file import read_weights_file
from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.pyfunc import _load_pyfunc
from flowerml.prediction.standalone.weights_file import read_weights
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from tests.data.download.archive_helpers import GOOD
from tests.data.download.archive_server import tgz
from tests.data.pictures import encode, scene
from tests.fuzz.conftest import fuzz
from tests.fuzz.mutations import changed, jpeg_parts, png_files, png_parts, rearranged
from tests.prediction.delivered import deliver

warnings.filterwarnings("ignore")
_SMALL = Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 10, 3), np.uint8))


def _picture(form: str, mode: str = "RGB", **options: object) -> bytes:
    return encode(_SMALL.convert(mode), form, **options)


_EXIF = Image.Exif()
_EXIF[0x0112], _EXIF[0x010E] = 6, "a note"
_ICC = b"\x00" * 128
JPEGS = [_picture("JPEG", exif=_EXIF.tobytes()), _picture("JPEG", "L"), _picture("JPEG", "CMYK", icc_profile=_ICC)]
PNGS = [_picture("PNG"), _picture("PNG", "P"), _picture("PNG", "RGBA", exif=_EXIF.tobytes()), _picture("PNG", "I;16")]
OTHERS = [_picture("WEBP"), _picture("GIF", "P"), _picture("BMP"), _picture("TIFF"), _picture("AVIF")]


def decode_or_refuse(data: bytes) -> None:
    try:
        picture = decode(data)
    except BadImage as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert picture.mode == "RGB"
        assert min(picture.size) > 0


@fuzz
@given(changed([*JPEGS, *PNGS, *OTHERS]) | st.binary(max_size=100))
def test_pictures_with_changed_bytes(data):
    decode_or_refuse(data)


@fuzz
@given(rearranged([jpeg_parts(data) for data in JPEGS]))
def test_jpeg_segments(data):
    decode_or_refuse(data)


@fuzz
@given(png_files(PNGS) | rearranged([png_parts(data) for data in PNGS]))
def test_png_chunks(data):
    decode_or_refuse(data)


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """A delivered file, and plain ones of torch's three forms."""
    folder = tmp_path_factory.mktemp("weights")
    state = {"layer.weight": torch.ones(3, 2), "epoch": 4}
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    small = {"state_dict": state, "classes": ["a", "b"], "format": 1}
    torch.save(small, folder / "checkpoint.pth")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@fuzz
@given(st.data())
def test_weights(weight_files, data):
    """By each of the three readers: runs' checkpoints, delivered files, and weights that somebody trained elsewhere."""
    path = Path("weights.pth")
    path.write_bytes(data.draw(changed(weight_files)))
    for read in (load_checkpoint, read_weights_file):
        try:
            read(path)
        except UserError as error:
            assert str(error)
    try:
        read_weights(path)
    except BadWeights as error:
        assert str(error)


@fuzz
@given(changed([tgz(GOOD), tgz([])]) | st.binary(max_size=60))
def test_archives(data):
    Path("photos.tgz").write_bytes(data)
    target = Path("photos")
    try:
        unpack(Path("photos.tgz"), target, lambda stage: stage)
    except UserError as error:
        assert str(error)
        assert not target.exists()
    else:
        assert {path.suffix for path in target.rglob("*") if path.is_file()} <= {".jpg", ".txt", ""}
    finally:
        if target.exists():
            shutil.rmtree(target)
    assert sorted(path.name for path in Path().iterdir()) == ["photos.tgz"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model as MLflow's scoring server has it: its predict gets what a request holds."""
    path = tmp_path_factory.mktemp("served") / "cnn_flowers.pth"
    deliver(path, "timm:test_convnext2", 32)
    return _load_pyfunc(str(path))


PHOTO = base64.b64encode(encode(scene(1), "JPEG"))
CELLS = (
    changed([PHOTO]).map(lambda data: data.decode("latin-1"))
    | st.text(max_size=30)
    | st.none()
    | st.integers()
    | st.floats()
    | st.sampled_from(["/etc/hostname", "file:///etc/hostname", "../weights.pth", "http://127.0.0.1:1/x.jpg"])
)


@fuzz
@given(cells=st.lists(CELLS, max_size=3), column=st.sampled_from(["image", "image", "picture", ""]))
def test_served_requests(served, cells, column):
    """A row that is no photo in base64 is refused by number; no file and no address that a request names is opened."""
    try:
        answers = served.predict(pd.DataFrame({column: cells}))
    except MlflowException as error:
        assert error.error_code == "INVALID_PARAMETER_VALUE"
    else:
        assert len(answers) == len(cells)
