"""The recipe with OpenCV against the one with torchvision: the same draws, the same operations, close pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from flowerml.data.augment import opencv_ops
from flowerml.data.augment.draws import draw_crop, draw_erased
from flowerml.data.augment.normalize import BatchNormalizer
from flowerml.data.augment.opencv import OpenCVTransform
from flowerml.data.rng import seeded
from flowerml.data.transforms import CROP_SCALE, InputDescription, TrainingTransform

SIZE = 64
DESCRIPTION = InputDescription(SIZE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic", 0.875)
NAMES = list(v2.RandAugment._AUGMENTATION_SPACE)


@pytest.fixture(scope="module")
def picture():
    """A smooth picture with edges: (120, 150, 3)."""
    rows, columns = np.mgrid[0:120, 0:150]
    pixels = np.stack([rows * 2, columns * 1.5, 128 + 100 * np.sin(rows / 9) * np.cos(columns / 11)], axis=2)
    pixels[30:60, 40:90] = (220, 40, 90)
    return pixels.astype(np.uint8)


def test_the_same_draws_show_the_same_part_with_the_same_operations(picture):
    """Nearly equal view by view, through flips, RandAugment and erased boxes."""
    ours, theirs = (kind(DESCRIPTION, 9, 0.5) for kind in (OpenCVTransform, TrainingTransform))
    normalize = BatchNormalizer(DESCRIPTION, torch.device("cpu"))
    distances = []
    for number in range(40):
        with seeded(number):
            view = ours(picture)
        with seeded(number):
            expected = theirs(Image.fromarray(picture))
        distances.append((normalize(view[None])[0] - expected).abs().mean().item())
    assert np.median(distances) < 0.05
    assert max(distances) < 0.5  # levels spread evenly magnify a rounding


@pytest.mark.parametrize(
    "changes", [{"crop_scale": 0.08}, {"color_jitter": 0.4}, {"color_jitter": 1.0}, {"trivialaugment": True}], ids=str
)
def test_later_settings_are_drawn_alike_too(picture, changes):
    ours, theirs = (kind(DESCRIPTION, 0, 0.5, **changes) for kind in (OpenCVTransform, TrainingTransform))
    normalize = BatchNormalizer(DESCRIPTION, torch.device("cpu"))
    distances = []
    for number in range(40):
        with seeded(number):
            view = ours(picture)
        with seeded(number):
            expected = theirs(Image.fromarray(picture))
        distances.append((normalize(view[None])[0] - expected).abs().mean().item())
    assert np.median(distances) < 0.1
    assert max(distances) < 0.5


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvisions(picture, name, magnitude):
    operation, strength, is_signed = opencv_ops.OPERATIONS[NAMES.index(name)]
    magnitudes, signed = v2.RandAugment._AUGMENTATION_SPACE[name]
    theirs = v2.RandAugment(2, magnitude, interpolation=InterpolationMode.BILINEAR)
    values = magnitudes(31, *picture.shape[:2])
    assert signed == is_signed
    for sign in (1, -1) if signed else (1,):
        value = 0.0 if values is None else float(values[magnitude]) * sign
        expected = theirs._apply_image_or_video_transform(
            Image.fromarray(picture), name, value, InterpolationMode.BILINEAR, theirs._fill
        )
        found = operation(picture, strength(magnitude / 30, picture) * sign)
        assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 1.0


@pytest.mark.parametrize("number", [0, 7, 15, 30])
@pytest.mark.parametrize("name", NAMES)
def test_a_wide_operation_is_torchvisions(picture, name, number):
    """Name by name and strength by strength, as TrivialAugmentWide has them."""
    operation, strengths, is_signed = opencv_ops.WIDE_OPERATIONS[NAMES.index(name)]
    magnitudes, signed = v2.TrivialAugmentWide._AUGMENTATION_SPACE[name]
    theirs = v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
    values = magnitudes(31, *picture.shape[:2])
    assert (signed, len(strengths)) == (is_signed, 0 if values is None else 31)
    for sign in (1, -1) if signed else (1,):
        value = 0.0 if values is None else float(values[number]) * sign
        expected = theirs._apply_image_or_video_transform(
            Image.fromarray(picture), name, value, InterpolationMode.BILINEAR, theirs._fill
        )
        found = operation(picture, strengths[number] * sign if strengths else 0.0)
        assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 1.0


def test_nothing_drawn_is_a_plain_resize(picture, monkeypatch):
    """A crop of the whole picture, no flip, magnitude 0."""
    monkeypatch.setattr("flowerml.data.augment.opencv.draw_crop", lambda height, width, _scale: (0, 0, height, width))
    monkeypatch.setattr("flowerml.data.augment.opencv.draw_chance", lambda _probability: False)
    view = OpenCVTransform(DESCRIPTION, 0, 0.0)(picture).permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert np.abs(view.astype(int) - expected).mean() < 2.0


@pytest.mark.parametrize("edge", [30, 64, 100, 150, 400])
def test_reduction_and_enlargement_keep_a_picture(picture, edge):
    """Every branch: enlarged, as it is, linear, twice the size, means of areas."""
    image = Image.fromarray(picture).resize((edge, edge), Image.Resampling.BICUBIC)
    found = opencv_ops.resize_square(np.asarray(image), SIZE)
    expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert found.shape == (SIZE, SIZE, 3)
    assert np.abs(found.astype(int) - expected).mean() < 2.0


def test_a_fine_pattern_is_averaged_not_sampled():
    """Stripes of one pixel, reduced, are grey: nothing of them folds into coarse stripes."""
    stripes = np.zeros((180, 180, 3), np.uint8)
    stripes[::2] = 255
    assert opencv_ops.resize_square(stripes, 90).std() < 12
    assert opencv_ops.resize_square(stripes, 45).std() < 12


def test_views_are_uint8_and_the_picture_is_not_changed(picture):
    """It may stand in a cache that is shared."""
    frozen = picture.copy()
    frozen.flags.writeable = False
    transform = OpenCVTransform(DESCRIPTION, 15, 1.0)
    for number in range(30):
        with seeded(number):
            view = transform(frozen)
        assert (view.dtype, tuple(view.shape)) == (torch.uint8, (3, SIZE, SIZE))
    assert np.array_equal(frozen, picture)


def test_erased_boxes_are_zero_after_normalisation():
    flat = np.full((80, 80, 3), 255, np.uint8)
    normalize = BatchNormalizer(DESCRIPTION, torch.device("cpu"))
    for number in range(10):
        with seeded(number):
            view = normalize(OpenCVTransform(DESCRIPTION, 0, 1.0)(flat)[None])[0]
        share = (view.abs() < 0.02).all(dim=0).float().mean()
        assert 0.015 < share < 0.4


def test_normalisation_by_batch_is_that_of_single_pictures(picture):
    batch = torch.from_numpy(picture[:SIZE, :SIZE]).permute(2, 0, 1)[None]
    found = BatchNormalizer(DESCRIPTION, torch.device("cpu"))(batch)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (DESCRIPTION.mean, DESCRIPTION.std))
    torch.testing.assert_close(found, (batch / 255 - mean) / std, rtol=0, atol=2e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_batches_that_are_float_stay():
    batch, pair = torch.rand(2, 3, 4, 4), (torch.rand(2, 8), torch.rand(2, 3, 4, 4))
    normalize = BatchNormalizer(DESCRIPTION, torch.device("cpu"))
    assert normalize(batch) is batch
    assert normalize(pair) is pair


def test_crops_and_boxes_are_drawn_as_torchvision_does():
    crop, erasing = v2.RandomResizedCrop(SIZE, scale=(CROP_SCALE, 1.0)), v2.RandomErasing(p=1.0)
    for number, (height, width) in enumerate([(100, 130), (130, 100), (1, 90), (90, 1), (20, 300), (64, 64)] * 5):
        with seeded(number):
            found = draw_crop(height, width, (CROP_SCALE, 1.0))
        with seeded(number):
            expected = crop.make_params([torch.empty(3, height, width)])
        assert found == (expected["top"], expected["left"], expected["height"], expected["width"])
        with seeded(number):
            box = draw_erased(SIZE)
        with seeded(number):
            expected = erasing.make_params([torch.empty(3, SIZE, SIZE)])
        assert box == (expected["i"], expected["j"], expected["h"], expected["w"])
