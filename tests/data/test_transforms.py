"""From a picture to a model's input: the evaluation view is the libraries' own, the training view is what was asked
for.
"""

import resource

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode

from flowerml.data.augment.opencv import OpenCVTransform
from flowerml.data.decode import BadImage, decode
from flowerml.data.rng import seeded
from flowerml.data.transforms import EvaluationTransform, InputDescription, TrainingTransform
from tests.data.pictures import encode, scene

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = [(1, 1), (1, 300), (300, 1), (3, 1000), (1000, 3), (31, 33), (64, 64), (2000, 40)]


def described(size=32, interpolation="bicubic", crop_pct=0.875, mean=MEAN, std=STD):
    return InputDescription(size=size, mean=mean, std=std, interpolation=interpolation, crop_pct=crop_pct)


PLAIN = described(size=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def views(transform, image, count):
    drawn = []
    for number in range(count):
        with seeded(0, number):
            drawn.append(transform(image))
    return drawn


@pytest.mark.parametrize("size", [(100, 80), (80, 100), (37, 53), (20, 20), (500, 90)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
def test_evaluation_is_the_libraries_own(size, interpolation, crop_pct):
    image = scene(1, *size)
    found = EvaluationTransform(described(32, interpolation, crop_pct))(image)
    reference = v1.Compose(
        [
            v1.Resize(int(32 / crop_pct), InterpolationMode(interpolation), antialias=True),
            v1.CenterCrop(32),
            v1.ToTensor(),
            v1.Normalize(MEAN, STD),
        ]
    )
    assert torch.allclose(found, reference(image), atol=1e-6, rtol=0)
    timms = create_transform(32, mean=MEAN, std=STD, interpolation=interpolation, crop_pct=crop_pct)
    assert torch.allclose(found, timms(image), atol=1e-6, rtol=0)


def test_normalisation_is_by_channel_in_rgb_order():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[...] = (255, 51, 0)
    found = EvaluationTransform(described(16, crop_pct=1.0, mean=(0.5, 0.1, 0.2), std=(0.5, 0.2, 0.1)))(
        Image.fromarray(pixels)
    )
    assert found.shape == (3, 16, 16)
    assert found[:, 3, 3].tolist() == pytest.approx([1.0, 0.5, -2.0], abs=1e-6)
    assert found.std(dim=(1, 2)).max() == 0


def test_a_picture_of_the_right_size_passes_pixel_for_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    found = EvaluationTransform(described(24, crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3))(Image.fromarray(pixels))
    assert np.array_equal(np.rint(found.numpy() * 255).astype(np.uint8), pixels.transpose(2, 0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_any_shape_becomes_the_inputs_square(size):
    image = scene(2, *size)
    description = described()
    training = TrainingTransform(description, randaugment=9, random_erasing=0.5)
    for found in (EvaluationTransform(description)(image), *views(training, image, 3)):
        assert type(found) is torch.Tensor
        assert found.shape == (3, 32, 32)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()


def test_a_stripe_of_legal_size_does_not_fill_the_memory():
    """1 x 65,535 pixels are 200 kB; with its short edge enlarged to 256 they would be 12.9 GB."""
    data = encode(Image.new("RGB", (65_535, 1), (9, 99, 199)), "PNG")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as handle:  # noqa: PTH123 - no file of ours
        used = int(handle.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        found = EvaluationTransform(described(224))(decode(data))
    except BadImage:
        return  # to refuse it before training is as good
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert found.shape == (3, 224, 224)


def test_randaugment_zero_and_erasing_zero_are_off():
    """On a picture of one colour a crop and a flip change nothing; whatever else is done shows."""
    flat = Image.new("RGB", (60, 50), (200, 100, 50))
    expected = torch.tensor([200, 100, 50]).view(3, 1, 1).expand(3, 24, 24) / 255
    for view in views(TrainingTransform(PLAIN, randaugment=0, random_erasing=0.0), flat, 40):
        assert torch.allclose(view, expected, atol=1e-6)


def test_randaugment_is_on_and_grows_with_its_magnitude():
    image = scene(4, 60, 50)
    plain = views(TrainingTransform(PLAIN, 0, 0.0), image, 40)
    changes = []
    for magnitude in (1, 9, 30):
        changed = views(TrainingTransform(PLAIN, magnitude, 0.0), image, 40)
        changes.append(sum((one - other).abs().mean().item() for one, other in zip(plain, changed, strict=True)) / 40)
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 60, 60), (0.5, 18, 42)])
def test_random_erasing_blanks_a_box_in_its_share_of_pictures(share, low, high):
    flat = Image.new("RGB", (60, 50), (200, 100, 50))
    erased = [view for view in views(TrainingTransform(PLAIN, 0, share), flat, 60) if (view == 0).any()]
    assert low <= len(erased) <= high
    for view in erased:
        blank = (view == 0).all(dim=0)
        rows, columns = blank.any(dim=1).nonzero().flatten(), blank.any(dim=0).nonzero().flatten()
        assert blank.sum() == len(rows) * len(columns), "one box"
        assert 0 < blank.float().mean() < 0.5


def test_the_training_view_flips_half_of_the_time_and_never_upside_down():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20, 0] = 255  # red on the left
    pixels[:20, :, 1] = 255  # green above
    drawn = views(TrainingTransform(PLAIN, 0, 0.0), Image.fromarray(pixels), 200)
    slope_across = [(view[0, :, :12].mean() - view[0, :, 12:].mean()).item() for view in drawn]
    slope_down = [(view[1, :12].mean() - view[1, 12:].mean()).item() for view in drawn]
    flipped = sum(slope < -0.02 for slope in slope_across)
    kept = sum(slope > 0.02 for slope in slope_across)
    assert flipped + kept > 190
    assert 70 < flipped < 130
    assert min(slope_down) > -0.02


def test_the_training_view_keeps_a_third_of_the_picture_or_more():
    """Ramps along both edges show how much of each a view covers."""
    across, down = np.meshgrid(np.linspace(0, 255, 200), np.linspace(0, 255, 200))
    ramp = Image.fromarray(np.stack([across, down, across * 0], axis=2).astype(np.uint8))
    description = described(24, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    areas = []
    for view in views(TrainingTransform(description, 0, 0.0), ramp, 150):
        width, height = (view[channel].max() - view[channel].min() for channel in (0, 1))
        areas.append((width * height).item() * (24 / 23) ** 2)
    assert min(areas) > 0.32
    assert min(areas) < 0.45
    assert max(areas) > 0.85


@pytest.mark.parametrize("kind", [TrainingTransform, OpenCVTransform])
@pytest.mark.parametrize("scale", [0.08, 0.6, 1.0])
def test_a_crop_keeps_at_least_its_share_of_the_picture(kind, scale):
    """Each pixel says where it comes from, as in the test above; with either library."""
    across, down = np.meshgrid(np.linspace(0, 255, 200), np.linspace(0, 255, 200))
    ramp = Image.fromarray(np.stack([across, down, across * 0], axis=2).astype(np.uint8))
    description = described(24, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    areas = []
    for view in views(kind(description, 0, 0.0, crop_scale=scale), ramp, 200):
        shown = view.float() / (255 if view.dtype == torch.uint8 else 1)
        width, height = (shown[channel].max() - shown[channel].min() for channel in (0, 1))
        areas.append((width * height).item() * (24 / 23) ** 2)
    assert min(areas) > 0.9 * scale
    assert min(areas) < scale + 0.1
    assert max(areas) > 0.85


@pytest.mark.parametrize("kind", [TrainingTransform, OpenCVTransform])
def test_color_jitter_changes_brightness_contrast_and_saturation_within_its_range(kind):
    """A picture of one colour: contrast leaves its grey, brightness scales it, saturation moves its channels apart."""
    flat = Image.new("RGB", (60, 50), (120, 60, 40))
    grey = 0.299 * 120 + 0.587 * 60 + 0.114 * 40
    greys, spreads = [], []
    for view in views(kind(PLAIN, 0, 0.0, color_jitter=0.4), flat, 100):
        red, green, blue = (view.float().mean(dim=(1, 2)) * (1 if view.dtype == torch.uint8 else 255)).tolist()
        greys.append((0.299 * red + 0.587 * green + 0.114 * blue) / grey)
        spreads.append((red - blue) / 80)
    assert 0.58 < min(greys) < 0.7 < 1.3 < max(greys) < 1.42
    # Of the three, contrast and saturation act on the distance of the channels: up to 1.4 times each, and brightness.
    assert 0.6**3 - 0.03 < min(spreads) < 0.6 < 1.4 < max(spreads) < 1.4**3 + 0.03


def test_inside_a_drawing_the_training_view_is_repeatable():
    transform = TrainingTransform(described(), randaugment=12, random_erasing=0.7)
    image = scene(3, 90, 70)
    drawn = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        with seeded(5, "augment", 1, "rose/1.jpg", 0):
            drawn.append(transform(image))
    assert torch.equal(*drawn)
    with seeded(5, "augment", 2, "rose/1.jpg", 0):
        assert not torch.equal(transform(image), drawn[0])


def test_the_picture_itself_is_left_as_it_was():
    image = scene(3, 90, 70)
    before = np.asarray(image).copy()
    views(TrainingTransform(described(), 20, 1.0), image, 5)
    EvaluationTransform(described())(image)
    assert np.array_equal(np.asarray(image), before)
