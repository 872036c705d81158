"""Name the flower in a picture: one file, for the weights delivered beside it. Needs torch, timm or open_clip, and Pillow; no network.

    from flowers_classifier import load_cnn_model, load_vit_model, predict

    model = load_cnn_model("cnn_flowers.pth")  # or load_vit_model("vit_flowers.pth")
    predict(model, "photo.jpg")                # 'tulip'

A picture is a path, a binary file object, the bytes of a file, a Pillow image, or a list of these (which gives a list). `predict_proba`
gives the probabilities behind the name, one column for each of `model.classes`. A picture that can't be used raises `BadPicture`, weights
that can't be trusted or do not fit `BadWeights`: both are ValueErrors with one line for people. Nothing in a weights file is ever executed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

# The digests of the delivered weights by file name; `export` fills them in. A file of another name is loaded without.
SHA256: dict[str, str] = {}

FORMAT = "flowerml-checkpoint-1"
FAMILIES = ("cnn", "vit")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # JPEG's door also takes MPO, the pictures of phones
PIXEL_LIMIT = 89_478_485  # Pillow's own line between a picture and a decompression bomb
BATCH = 16  # pictures that go through the network together: what a list costs in memory does not grow with it

Picture: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image
Pictures: TypeAlias = Picture | list[Picture] | tuple[Picture, ...]


class BadWeights(ValueError):
    """A weights file that is missing, damaged, tampered with, of another kind, or that does not fit its model. One line."""


class BadPicture(ValueError):
    """Something that can't be used as a picture. One line, with the path where there is one."""


# ---------------------------------------------------------------------------------------------------------------- what users call


def load_cnn_model(weights_path: str | os.PathLike[str] = "cnn_flowers.pth") -> FlowersClassifier:
    """Load the CNN, on the CPU, in fp32 and evaluation mode. A relative path is looked up here, then beside this file.

    Raises:
        BadWeights: see there; also for the file of a ViT.
    """
    return _of_family(weights_path, "cnn")


def load_vit_model(weights_path: str | os.PathLike[str] = "vit_flowers.pth") -> FlowersClassifier:
    """Load the ViT, as `load_cnn_model`."""
    return _of_family(weights_path, "vit")


def load_model(weights_path: str | os.PathLike[str]) -> FlowersClassifier:
    """Load a model of either family, as `load_cnn_model`."""
    return build_model(read_weights(weights_path), str(weights_path))


def predict(model: FlowersClassifier, image_path: Pictures) -> str | list[str]:
    """The name of the flower in a picture; a list of pictures gives a list of names.

    Raises:
        BadPicture: one of them can't be used; says which and why.
    """
    names = [model.classes[place] for place in predict_proba(model, image_path).argmax(axis=1)]
    return names if isinstance(image_path, (list, tuple)) else names[0]


def predict_proba(model: FlowersClassifier, images: Pictures) -> np.ndarray:
    """Probabilities (N, C) float32 of the pictures, columns in the order of `model.classes`; one picture gives one row.

    Raises:
        BadPicture: one of them can't be used; says which and why.
    """
    every: list[Picture] = list(images) if isinstance(images, (list, tuple)) else [images]
    rows = [np.zeros((0, len(model.classes)), np.float32)]
    for start in range(0, len(every), BATCH):
        part = every[start : start + BATCH]
        rows.append(
            model.probabilities(
                [model.look(picture, _named(picture, start + place)) for place, picture in enumerate(part)]
            )
        )
    return np.concatenate(rows)


@dataclass(frozen=True)
class Input:
    """What a model sees: a square of `size` pixels, `mean` and `std` by channel (RGB, 0..1), cut out of `1 / crop_pct` as much."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float


class FlowersClassifier(nn.Module):
    """Logits (N, C) from inputs (N, 3, S, S), with the names of the classes, the family ("cnn", "vit") and the input's description."""

    def __init__(
        self, backbone: nn.Module, head: nn.Module, classes: Sequence[str], family: str, description: Input
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.classes = tuple(classes)
        self.family = family
        self.description = description
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        logits: torch.Tensor = self.head(self.backbone(inputs))
        return logits

    def look(self, picture: Picture, name: str = "") -> torch.Tensor:
        """The input (3, S, S) float32 that a picture gives. Raises BadPicture, with `name` before the reason."""
        try:
            return as_input(read_picture(picture), self.description)
        except BadPicture as error:
            raise BadPicture(_line(f"{name}: {error}" if name else str(error))) from error

    @torch.inference_mode()
    def probabilities(self, inputs: Sequence[torch.Tensor]) -> np.ndarray:
        """Probabilities (N, C) float32 of inputs as `look` gives them, in one batch. Raises BadWeights where they are no numbers."""
        logits = self(torch.stack(list(inputs)).to(next(self.parameters()).device))
        shares: np.ndarray = logits.float().softmax(dim=1).cpu().numpy()
        if not np.isfinite(shares).all():
            raise BadWeights("the model answers with something that is no number: its weights are unusable")
        return shares


def _of_family(path: str | os.PathLike[str], family: str) -> FlowersClassifier:
    content = read_weights(path)
    if content["family"] != family:
        found = content["family"]
        raise BadWeights(
            _line(f"{path} holds a model of family {found}, not {family}: load it with load_{found}_model")
        )
    return build_model(content, str(path))


# ------------------------------------------------------------------------------------------------------------------- weights files


def read_weights(weights_path: str | os.PathLike[str], families: Sequence[str] = FAMILIES) -> dict:
    """What stands in a weights file of one of these families, checked for its form: plain tensors and values, nothing of it executed.

    Tensors stay on the disk until they are used (mmap).

    Raises:
        BadWeights: missing, damaged, not what was delivered (SHA256), or not of this format.
    """
    path = _found(weights_path)
    _check_file(path, str(weights_path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to execute what is in it
        reason = "holds more than plain weights and values: refused, as such a file can run code"
        raise BadWeights(_line(f"{weights_path}: {reason}")) from error
    except Exception as error:  # zip, pickle and torch each have errors of their own for a damaged file
        raise BadWeights(_line(f"{weights_path}: can't be read ({_first(error)})")) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadWeights(_line(f"{weights_path}: not written by flowerml ({FORMAT})"))
    if wrong := next(_wrong_parts(content, families), None):
        raise BadWeights(_line(f"{weights_path}: {wrong}"))
    return content


def _found(path: str | os.PathLike[str]) -> Path:
    here, beside = Path(path), Path(__file__).resolve().parent
    for candidate in (here, beside / here):
        if candidate.is_file():
            return candidate
    where = "" if here.is_absolute() else f", neither from {Path.cwd()} nor from {beside}"
    raise BadWeights(_line(f"{path}: no such file{where}"))


def _check_file(path: Path, name: str) -> None:
    """Nobody has changed a bit of it: by the digest where one is known, else by the checksums in it, which torch does not look at."""
    try:
        wanted = SHA256.get(path.name)
        if wanted is not None and _digest(path) != wanted:
            raise BadWeights(
                _line(f"{name}: not the file that was delivered (its sha256 is another one); copy it again")
            )
        with zipfile.ZipFile(path) as archive:
            packed = [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
            damaged = archive.testzip() if wanted is None else None
    except BadWeights:
        raise
    except Exception as error:
        raise BadWeights(_line(f"{name}: can't be read ({_first(error)})")) from error
    if packed or damaged:
        raise BadWeights(_line(f"{name}: can't be read (its part {damaged or packed[0]} is damaged)"))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _wrong_parts(content: Mapping, families: Sequence[str]) -> Iterator[str]:
    """What is not as the format says, in words."""
    model, described, state, classes = (content.get(key) for key in ("model", "input", "state_dict", "classes"))
    if not isinstance(model, dict) or not all(
        isinstance(model.get(key), str) for key in ("name", "library", "architecture", "hub")
    ):
        yield "does not say which model it is for"
    if content.get("family") not in families:
        yield f"is of family {content.get('family')!r}, which is not {' or '.join(families)}"
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        yield "has no list of class names"
    if not isinstance(described, dict) or not _is_input(described):
        yield "does not describe its input"
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and _is_plain(tensor) for name, tensor in state.items()
    ):
        yield "holds weights that are no plain tensors"
    else:
        head = state.get("head.bias")
        if isinstance(classes, list) and head is not None and tuple(head.shape) != (len(classes),):
            yield f"names {len(classes)} classes, but its head gives {head.numel()}"


def _is_input(described: Mapping) -> bool:
    size, crop = described.get("size"), described.get("crop_pct")
    channels = [described.get("mean"), described.get("std")]
    return (
        type(size) is int
        and 0 < size <= 4096
        and isinstance(crop, (int, float))
        and 0 < crop <= 1
        and all(
            isinstance(three, list) and len(three) == 3 and all(isinstance(one, (int, float)) for one in three)
            for three in channels
        )
        and all(described["std"])
        and str(described.get("interpolation")).upper() in Image.Resampling.__members__
    )


def _is_plain(tensor: object) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_quantized


# ------------------------------------------------------------------------------------------------------------------------- models


def build_model(content: Mapping, origin: str) -> FlowersClassifier:
    """The model of a weights file's `content`, ready to predict; `origin` names it in messages. Raises BadWeights."""
    model, described = content["model"], content["input"]
    channels = {name: tuple(described[name]) for name in ("mean", "std")}
    description = Input(
        described["size"], channels["mean"], channels["std"], described["interpolation"], described["crop_pct"]
    )

    def make() -> FlowersClassifier:
        backbone, features = _backbone(model, description.size)
        return FlowersClassifier(
            backbone, nn.Linear(features, len(content["classes"])), content["classes"], content["family"], description
        )

    try:
        return with_weights(make, content["state_dict"], model["name"])
    except BadWeights as error:
        raise BadWeights(_line(f"{origin}: {error}")) from error


Module = TypeVar("Module", bound=nn.Module)


def with_weights(make: Callable[[], Module], state: Mapping[str, torch.Tensor], name: str) -> Module:
    """What `make` builds, in evaluation mode, with `state` as its weights (fp32 where they are stored as half): no random ones before.

    It is built without memory (meta device) and takes over the tensors of `state` as they are. What a library keeps outside its state
    (tables of positions, masks) has no values then: such a model is built a second time, for real.

    Raises:
        BadWeights: a key missing or too many, another shape, or another kind of numbers; names the first.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (NotImplementedError, RuntimeError, TypeError):  # a library that computes with values while it builds
        module = _built(make, name)
    fitting = _fitting(module.state_dict(), state, name)
    module.load_state_dict(fitting, strict=True, assign=True)
    if _without_values(module):
        module = _built(make, name)
        module.load_state_dict(fitting, strict=True, assign=True)
    return module.eval()


def _built(make: Callable[[], Module], name: str) -> Module:
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to draw
            return make()
    except (NotImplementedError, RuntimeError, TypeError, AssertionError) as error:
        raise BadWeights(f"{name} can't be built with the libraries installed here ({_first(error)})") from error


def _fitting(
    wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """`state` in the numbers the model computes with, if every key and shape is the model's."""
    lists = {
        "missing": [key for key in wanted if key not in state],
        "too many": [key for key in state if key not in wanted],
    }
    reasons = [f"{len(keys)} {what}, first {keys[0]}" for what, keys in lists.items() if keys]
    fitting = {}
    for key, own in wanted.items() if not reasons else ():
        tensor = state[key]
        if tensor.shape != own.shape:
            reasons.append(f"{key} is {tuple(tensor.shape)}, not {tuple(own.shape)}")
        if tensor.dtype != own.dtype and not (tensor.is_floating_point() and own.is_floating_point()):
            reasons.append(f"{key} is {tensor.dtype}, not {own.dtype}")
        fitting[key] = tensor.to(own.dtype)
    if reasons:
        raise BadWeights(f"its weights do not fit {name} ({'; '.join(reasons[:3])})")
    return fitting


def _without_values(module: nn.Module) -> bool:
    """Whether a tensor is left on the meta device: a parameter, a buffer, or one that a layer keeps as an attribute or in a list."""
    for layer in module.modules():
        for held in vars(layer).values():
            several = held.values() if isinstance(held, dict) else held if isinstance(held, (list, tuple)) else (held,)
            if any(isinstance(one, torch.Tensor) and one.is_meta for one in several):
                return True
    return False


def _backbone(model: Mapping[str, str], size: int) -> tuple[nn.Module, int]:
    """The network without its head, and how many features it gives. No hub is asked for anything."""
    architecture, hub = model["architecture"], model["hub"]
    if model["library"] == "timm":
        import timm

        if not timm.is_model(architecture):
            raise BadWeights(f"timm {timm.__version__} has no {architecture!r}")
        fixed = {"img_size": size} if timm.get_pretrained_cfg_value(architecture, "fixed_input_size") else {}
        tagged = architecture if hub == "default" else f"{architecture}.{hub}"
        backbone = timm.create_model(tagged, pretrained=False, num_classes=0, **fixed)
        return backbone, backbone.head_hidden_size
    if model["library"] == "open_clip":
        return _tower(architecture, hub, size)
    raise BadWeights(f"is for the library {model['library']!r}, which is neither timm nor open_clip")


def _tower(architecture: str, hub: str, size: int) -> tuple[nn.Module, int]:
    import open_clip

    if architecture not in open_clip.list_models():
        raise BadWeights(f"open_clip {open_clip.__version__} has no {architecture!r}")
    config = open_clip.get_model_config(architecture)
    published = open_clip.get_pretrained_cfg(architecture, hub)
    # OpenAI's weights need QuickGELU also where the architecture's own name does not say so.
    quick_gelu = bool(config.get("quick_gelu") or published.get("quick_gelu"))
    on_timm = (
        "timm_model_name" in config["vision_cfg"]
    )  # such a tower is built at its own size and resized by timm afterwards
    vision = {**config["vision_cfg"], **({"timm_model_pretrained": False} if on_timm else {"image_size": size})}
    no_text = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
    tower = open_clip.CLIP(config["embed_dim"], vision, no_text, quick_gelu=quick_gelu).visual
    if on_timm and size != vision.get("image_size"):
        tower.set_input_size(size)
    return tower, config["embed_dim"]


# ----------------------------------------------------------------------------------------------------------------------- pictures


def read_picture(picture: Picture, *, upright: bool = True) -> Image.Image:
    """An RGB picture, transparency on white, 16 bit scaled; of a file with several, the first.

    It is turned as its camera noted, or with `upright` False left as its pixels are stored, where boxes are drawn on them.

    A file object is read from its beginning where it can be rewound; a Pillow image is left as it was.

    Raises:
        BadPicture: the reason, without the path.
        TypeError: it is nothing that could be a picture.
    """
    if isinstance(picture, Image.Image):
        return _decoded(picture, upright=upright)
    try:
        return _decoded(_bytes_of(picture), upright=upright)
    except OSError as error:
        raise BadPicture(error.strerror or str(error)) from error


def _bytes_of(picture: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        path = Path(picture)
        if not path.is_file() and path.exists():  # a named pipe would be waited for without end
            raise BadPicture("not a regular file")
        return path.read_bytes()
    if not hasattr(picture, "read"):
        kinds = "a path, a binary file object, bytes, a Pillow image or a list of these"
        raise TypeError(f"a picture is {kinds}, not {type(picture).__name__}")
    if picture.seekable():
        picture.seek(0)
    data = picture.read()
    if not isinstance(data, bytes):
        raise TypeError('a picture\'s file has to be opened with mode "rb"')
    return data


def _decoded(source: bytes | Image.Image, *, upright: bool) -> Image.Image:
    try:
        if isinstance(source, Image.Image):
            return _rgb(source, upright=upright)
        if not source:
            raise BadPicture("the file is empty")
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            return _rgb(image, upright=upright)
    except (BadPicture, MemoryError):  # a machine that is out of memory says nothing about the file
        raise
    except Image.DecompressionBombError:
        raise BadPicture(_too_large("the picture")) from None
    except Image.UnidentifiedImageError:
        head = source[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower() if isinstance(source, bytes) else b""
        page = " (it looks like a web page)" if head.startswith((b"<!doctype", b"<html", b"<?xml")) else ""
        raise BadPicture(f"not a picture in {', '.join(FORMATS)}{page}") from None
    except Exception as error:  # a damaged file may raise anything in a decoder; whatever it is, the file can't be used
        raise BadPicture(f"damaged: {str(error) or type(error).__name__}") from error


def _rgb(image: Image.Image, *, upright: bool) -> Image.Image:
    """Every mode the same way: 16 bit scaled (Pillow's own conversion clips), transparency laid on white, the rest converted."""
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        raise BadPicture(_too_large(f"{width}x{height}"))
    image.load()
    if upright:
        image = ImageOps.exif_transpose(image)
    clear = image.info.get("transparency")
    if image.mode == "F":
        raise BadPicture("floating-point pixels have no fixed range: save it with 8 or 16 bits")
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65_535:
            raise BadPicture("32-bit pixels have no fixed range: save it with 8 or 16 bits")
        grey = np.where(wide == clear, 255, wide // 257) if isinstance(clear, int) else wide // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or clear is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def as_input(image: Image.Image, description: Input) -> torch.Tensor:
    """Resize the short edge to floor(size / crop_pct), cut out the centre, normalise: an RGB picture to (3, size, size) float32."""
    short, long = sorted(image.size)
    if (
        long > 64 * short
    ):  # of an extreme stripe only the middle: enlarging the short edge of all of it would fill the memory
        image = _centre(image, min(image.width, 64 * short), min(image.height, 64 * short))
    edge, short = int(description.size / description.crop_pct), min(image.size)
    width, height = (edge if side == short else int(edge * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling[description.interpolation.upper()])
    pixels = torch.from_numpy(np.array(_centre(image, description.size, description.size))).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (description.mean, description.std))
    return pixels.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


# ------------------------------------------------------------------------------------------------------------------ MLflow's server


class Served:
    """The model behind `mlflow models serve` and `mlflow.pyfunc.load_model`: base64 pictures in, names and probabilities out."""

    def __init__(self, model: FlowersClassifier) -> None:
        self.model = model

    def predict(self, rows: Mapping) -> list[dict]:
        """Per row, `{"label": name, "probabilities": {class: share}}`, from a column `image` of picture files in base64.

        Raises:
            BadPicture: a row that is no picture, by its number (counted from 1); under MLflow as its own error, see `_refusal`.
        """
        try:
            shares = predict_proba(
                self.model, [_from_base64(text, place) for place, text in enumerate(rows["image"], start=1)]
            )
        except BadPicture as error:
            raise _refusal(str(error)) from error
        names = self.model.classes
        return [
            {
                "label": names[row.argmax()],
                "probabilities": {name: float(share) for name, share in zip(names, row, strict=True)},
            }
            for row in shares
        ]


def _load_pyfunc(path: str) -> Served:
    """The function MLflow looks for in a model whose code is this file alone; `path` is its weights file. Raises BadWeights."""
    return Served(load_model(path))


def _from_base64(text: object, place: int) -> bytes:
    if not isinstance(text, str):
        raise BadPicture(f"picture {place}: the base64 text of a picture file is wanted, not {type(text).__name__}")
    try:
        return base64.b64decode(
            "".join(text.rpartition(",")[2].split()), validate=True
        )  # in front of a comma: data:image/jpeg;base64
    except (binascii.Error, ValueError) as error:
        raise BadPicture(f"picture {place}: not base64 ({error})") from error


def _refusal(reason: str) -> Exception:
    """MLflow's error for a wrong value, where MLflow is what called us: it answers HTTP 400 with the reason, and only to its own kind."""
    caller = sys.modules.get("mlflow.exceptions")
    return BadPicture(reason) if caller is None else caller.MlflowException.invalid_parameter_value(reason)


# ------------------------------------------------------------------------------------------------------------------------- helpers


def _named(picture: object, place: int) -> str:
    name = (
        picture
        if isinstance(picture, (str, os.PathLike))
        else getattr(picture, "name", None) or getattr(picture, "filename", None)
    )
    return str(name) if isinstance(name, (str, os.PathLike)) else f"picture {place + 1}"


def _too_large(what: str) -> str:
    return f"{what} is over the limit of {PIXEL_LIMIT:,} pixels"


def _line(text: str) -> str:
    return " ".join(text.splitlines())


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:140]
