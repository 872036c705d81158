"""The single file sees a picture as training does, bit for bit, whichever way it is handed over."""

import io
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from flowerml.data.decode import BadImage, decode, read_image
from flowerml.data.transforms import EvaluationTransform, InputDescription
from tests.data.metadata.odd_metadata import variants
from tests.prediction.delivered import CLASSES, NAMES, deliver, odd_pictures
from tests.prediction.single_file import load_single_file

fc = load_single_file()
BadPicture = fc.BadPicture

ODD = odd_pictures()
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DESCRIPTIONS = [
    InputDescription(size, *IMAGENET, interpolation, crop_pct)
    for size, interpolation, crop_pct in (
        (32, "bicubic", 0.875),
        (33, "bilinear", 0.95),
        (224, "bicubic", 1.0),
        (20, "bilinear", 0.9),
    )
]


def given(description):
    return fc.Input(
        description.size, description.mean, description.std, description.interpolation, description.crop_pct
    )


def outcome(read, refusal, data):
    """The pixels, or the reason why there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return np.asarray(read(data))
        except refusal as error:
            return str(error)


USABLE = {name: data for name, data in ODD.items() if not isinstance(outcome(fc.read_picture, BadPicture, data), str)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("delivered") / "cnn_flowers.pth"
    deliver(path, NAMES["cnn"])
    return fc.load_cnn_model(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    for name, data in ODD.items():
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("name", ODD)
def test_a_file_gives_the_pixels_or_the_reason_that_training_has(name):
    ours, theirs = outcome(decode, BadImage, ODD[name]), outcome(fc.read_picture, BadPicture, ODD[name])
    assert type(ours) is type(theirs)
    assert np.array_equal(ours, theirs)


def test_the_odd_pictures_are_of_both_kinds():
    assert len(ODD) - len(USABLE) == 10
    assert len(USABLE) > 30


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=str)
def test_the_input_is_that_of_evaluation_bit_for_bit(description):
    for name, data in USABLE.items():
        wanted = EvaluationTransform(description)(decode(data))
        found = fc.to_input(fc.read_picture(data), given(description))
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted), name


def test_every_shape_and_every_grey_is_that_of_evaluation():
    """Roundings of sizes and of pixel values, one by one."""
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    plain = InputDescription(16, *IMAGENET, "bilinear", 1.0)
    assert torch.equal(fc.to_input(levels, given(plain)), EvaluationTransform(plain)(levels))
    draw = np.random.default_rng(1)
    for description in DESCRIPTIONS[:2]:
        for width, height in draw.integers(1, 150, (150, 2)):
            image = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
            wanted = EvaluationTransform(description)(image)
            assert torch.equal(fc.to_input(image, given(description)), wanted), (width, height)


@pytest.mark.slow
@pytest.mark.parametrize("name", USABLE)
def test_path_file_object_bytes_and_pillow_image_agree_bit_for_bit(name, folder, model):
    path = folder / name
    wanted = fc.predict_proba(model, path)
    assert wanted.shape == (1, 5)
    assert wanted.dtype == np.float32
    assert wanted.sum() == pytest.approx(1, abs=1e-5)
    # Pillow 13.0 maps an uncompressed grey TIFF from its path, and reads one that lies on its side wrongly then.
    source = io.BytesIO(ODD[name]) if name == "16 bit big-endian" else path
    with (
        path.open("rb") as handle,
        Image.open(source) as lazy,
        Image.open(path if source is path else io.BytesIO(ODD[name])) as image,
    ):
        image.load()
        before = image.mode, image.size, image.tobytes()
        for other in (
            str(path),
            handle,
            handle,
            ODD[name],
            io.BytesIO(ODD[name]),
            image,
            lazy,
        ):  # the handle twice: it is rewound
            assert np.array_equal(fc.predict_proba(model, other), wanted), type(other)
            assert fc.predict(model, other) == CLASSES[int(wanted.argmax())]
        assert (image.mode, image.size, image.tobytes()) == before, "the caller's picture is left as it was"


def test_a_file_object_that_cannot_be_rewound_is_read_as_it_comes(model):
    class Stream(io.RawIOBase):
        data = io.BytesIO(ODD["JPEG"])

        def read(self, size=-1):
            return self.data.read(size)

    assert np.array_equal(fc.predict_proba(model, Stream()), fc.predict_proba(model, ODD["JPEG"]))


@pytest.mark.slow
def test_a_list_agrees_with_one_by_one_in_batches_of_bounded_size(folder, model, monkeypatch):
    monkeypatch.setattr(fc, "BATCH", 7)
    paths = [folder / name for name in USABLE]
    sizes = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    together = fc.predict_proba(model, paths)
    assert max(sizes) == 7
    assert sum(sizes) == len(paths)
    single = np.concatenate([fc.predict_proba(model, path) for path in paths])
    assert together.shape == (len(paths), 5)
    assert np.abs(together - single).max() < 1e-5
    names = fc.predict(model, paths)
    assert names == [fc.predict(model, path) for path in paths] == fc.predict(model, tuple(paths))
    assert len(set(names)) > 1
    assert all(type(name) is str for name in names)
    assert fc.predict(model, paths[:1]) == names[:1]
    assert fc.predict(model, []) == []
    assert fc.predict_proba(model, []).shape == (0, 5)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", sorted(ODD.keys() - USABLE.keys()))
def test_a_bad_picture_is_one_line_with_its_path(name, folder, model):
    for shown in (folder / name, [folder / "JPEG", folder / name]):
        with pytest.raises(BadPicture) as caught:
            fc.predict(model, shown)
        message = str(caught.value)
        assert message.startswith(f"{folder / name}: ")
        assert "\n" not in message
    assert issubclass(BadPicture, ValueError)
    assert not issubclass(BadPicture, fc.BadWeights)


def test_a_pillow_image_of_a_truncated_file_and_one_over_the_limit_are_refused(folder, model):
    with Image.open(folder / "truncated JPEG") as image, pytest.raises(BadPicture, match="truncated"):
        fc.predict(model, image)
    with pytest.raises(BadPicture, match="limit"):
        fc.predict(model, Image.new("1", (10_000, 9_000)))


def test_what_has_no_path_is_named_by_its_place_in_the_list(model):
    with pytest.raises(BadPicture, match=r"^picture 2: the file is empty$"):
        fc.predict(model, [ODD["JPEG"], b""])


def test_what_is_no_file_is_refused_as_training_refuses_it(tmp_path, model):
    """A named pipe above all: to read it would be to wait for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "no such.jpg", tmp_path, tmp_path / "pipe.jpg", tmp_path / ("x" * 300)):
        with pytest.raises(BadImage) as wanted:
            read_image(path)
        with pytest.raises(BadPicture) as caught:
            fc.predict(model, path)
        assert str(caught.value) == f"{path}: {wanted.value}"


def test_a_path_with_a_line_break_makes_one_line(tmp_path, model):
    with pytest.raises(BadPicture) as caught:
        fc.predict(model, tmp_path / "no\nsuch.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "thing", [None, 3, np.zeros((4, 4, 3), np.uint8), io.StringIO("text")], ids=lambda thing: type(thing).__name__
)
def test_what_can_be_no_picture_is_a_mistake_in_the_calling_code(thing, model):
    with pytest.raises(TypeError, match="picture"):
        fc.predict(model, thing)


@pytest.mark.filterwarnings("ignore")
def test_odd_metadata_is_left_out_there_too():
    for variant in variants(60, 5):
        assert np.array_equal(np.asarray(fc.read_picture(variant.data)), np.asarray(decode(variant.data)))


@pytest.mark.parametrize("mode", ["I", "F", "LA", "PA", "CMYK"])
def test_an_image_made_in_memory_is_taken_by_the_same_rule(mode):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).convert("P" if mode == "PA" else "L")
    expected = np.asarray(
        image.convert("RGB").convert("CMYK").convert("RGB") if mode == "CMYK" else image.convert("RGB")
    )
    found = fc.read_picture(image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode))
    assert np.array_equal(np.asarray(found), expected)
