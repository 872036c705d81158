"""Small delivered files for the tests of the single file, and odd pictures of every kind."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flowerml.data.transforms import InputDescription
from flowerml.models import build
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from tests.data.encoded_images import big_endian_tiff, png_header, with_orientation
from tests.data.pictures import encode, quarters, scene

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
NAMES = {"cnn": "convnextv2_atto", "vit": "clip_vits32"}


def deliver(path: Path, name: str, size: int = 64):
    """Write a delivered file; return its model, as it was built for training, in evaluation mode."""
    torch.manual_seed(5)
    spec = find_model(name)
    built = build(spec, len(CLASSES), img_size=size)
    torch.nn.init.normal_(built.model.head.weight, std=1.0)  # so that pictures are told apart
    description = InputDescription(
        size, built.description.mean, built.description.std, built.description.interpolation, 0.9
    )
    save_checkpoint(
        path, Checkpoint(built.model.state_dict(), spec, CLASSES, description, 2, {}, {"model": name}, None)
    )
    return built.model.eval()


def odd_pictures() -> dict[str, bytes]:
    """File contents by a telling name: what can be used and what can't."""
    photo, flat = scene(7, 90, 60), Image.fromarray(quarters())
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    wide = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    palette = flat.quantize(4)
    jpeg = encode(photo, "JPEG")
    good = {
        **{f"orientation {number}": with_orientation(quarters(), number, "JPEG") for number in range(9) if number},
        **{kind: encode(photo, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")},
        "CMYK": encode(photo.convert("CMYK"), "JPEG"),
        "grey": encode(photo.convert("L"), "PNG"),
        "one bit": encode(photo.convert("1"), "PNG"),
        "alpha": encode(Image.fromarray(noise), "PNG"),
        "grey and alpha": encode(Image.fromarray(noise).convert("LA"), "PNG"),
        "palette": encode(palette, "PNG"),
        "clear palette": encode(palette, "PNG", transparency=1),
        "half clear palette": encode(palette, "PNG", transparency=b"\x33\xff\x80\x00"),
        "colour key": encode(flat, "PNG", transparency=(250, 30, 20)),
        "16 bit": encode(Image.fromarray(wide), "PNG"),
        "16 bit key": encode(Image.fromarray(wide), "PNG", transparency=300),
        "16 bit big-endian": big_endian_tiff(wide, orientation=6),
        "animated": encode(photo, "GIF", save_all=True, append_images=[flat.resize(photo.size)]),
        "MPO": encode(photo, "MPO", save_all=True, append_images=[scene(2, 90, 60)]),
        "one pixel": encode(Image.new("RGB", (1, 1), "red"), "PNG"),
        **{
            f"stripe {size}": encode(scene(3, *size), "PNG")
            for size in ((2, 900), (900, 3), (1, 65), (64, 1), (7, 451))
        },
    }
    bad = {
        "empty": b"",
        "text": b"no picture",
        "web page": b"<!DOCTYPE html><html>" + b"x" * 900,
        "truncated JPEG": jpeg[: len(jpeg) // 2],
        "truncated PNG": encode(photo, "PNG")[:2000],
        "bomb": png_header(50_000, 50_000),
        "small bomb": png_header(9_460, 9_459),
        "float": encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"),
        "32 bit": encode(Image.fromarray(np.array([[70_000, 1]], np.int32)), "TIFF"),
        "other format": encode(photo, "PPM"),
    }
    return good | bad
