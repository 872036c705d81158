"""Decoding and augmenting of pictures on one thread: Pillow with torchvision against OpenCV and the cache of pictures.

    python benchmarks/data_path.py --photos FOLDER

Without `--photos` (a folder with one sub-folder of pictures per class) the pictures are generated. Each round measures
all rows one after the other; the ratio is that to the first row in the same round. A row's time is that of everything
up to a batch of normalised float32 pictures; the cache was filled before.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from rich.table import Table
from support.harness import parse_arguments, print_table, ratio_cells

from flowerml.data.augment.normalize import BatchNormalizer
from flowerml.data.augment.opencv import OPENCV, OpenCVTransform, require_backend
from flowerml.data.decode import read_image
from flowerml.data.folders import read_layout
from flowerml.data.image_cache.entry import training_entry
from flowerml.data.image_cache.examples import as_array, cached_examples, to_image
from flowerml.data.image_cache.store import DiskStore, RamStore
from flowerml.data.loader import Example, Loader, Transform, training_loader
from flowerml.data.scan import Picture, Scan, scan_folder
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.data.transforms import InputDescription, TrainingTransform

QUICK = {"count": 12, "rounds": 1, "size": 64, "photo_size": 96}
BATCH = 32
UNLIMITED = 10**12  # bytes


def open_plain(path: Path) -> Image.Image:
    """The picture as most scripts read it."""
    with Image.open(path) as image:
        return image.convert("RGB")


def sample_pictures(scanned: Scan, count: int) -> Sequence[Picture]:
    """`count` pictures, evenly over the folder."""
    return scanned.pictures[:: max(1, len(scanned.pictures) // count)][:count]


def loaders(scanned: Scan, pictures: Sequence[Picture], size: int, cache: Path) -> dict[str, Loader]:
    """The rows of the table: loaders in this process, by name."""
    description = InputDescription(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)
    torchvision, opencv = TrainingTransform(description, 9, 0.1), OpenCVTransform(description, 9, 0.1)
    entries = [training_entry(scanned.root, picture, description) for picture in pictures]
    ram, disk = RamStore(entries, UNLIMITED), DiskStore(entries, cache, UNLIMITED)
    plain, safe = (
        [Example(picture.key, 0, partial(read, scanned.root / picture.file)) for picture in pictures]
        for read in (open_plain, read_image)
    )
    rows: dict[str, tuple[Sequence[Example], Transform]] = {
        "Pillow + torchvision": (plain, torchvision),
        "default": (safe, torchvision),
        "--cache-images ram": (cached_examples(safe, entries, ram, to_image), torchvision),
        "--augment-backend opencv": (safe, opencv),
        "opencv, --cache-images ram": (cached_examples(safe, entries, ram, as_array), opencv),
        "opencv, --cache-images disk": (cached_examples(safe, entries, disk, as_array), opencv),
    }
    return {
        name: training_loader(examples, transform, batch_size=BATCH, workers=0, seed=11)
        for name, (examples, transform) in rows.items()
    }


def milliseconds_per_picture(action: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started) / count


def measure(rows: dict[str, Loader], count: int, rounds: int, normalize: BatchNormalizer) -> dict[str, list[float]]:
    """Milliseconds per picture of each row in each round, after one round that fills the caches."""

    def load(loader: Loader, epoch: int) -> None:
        for inputs, _, _ in loader.epoch(epoch):
            normalize(inputs)

    for loader in rows.values():
        load(loader, 1)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for epoch in range(2, rounds + 2):
        for name, loader in rows.items():
            times[name].append(milliseconds_per_picture(partial(load, loader, epoch), count))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class")
    parser.add_argument("--count", type=int, default=200, help="pictures that are measured (default: 200)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of all rows (default: 7)")
    parser.add_argument("--size", type=int, default=224, help="edge of the model's input in px (default: 224)")
    parser.set_defaults(photo_size=480)
    args = parse_arguments(parser, QUICK)
    torch.set_num_threads(1)
    require_backend(OPENCV)
    with tempfile.TemporaryDirectory() as folder:
        root = args.photos
        if root is None:
            root = Path(folder) / "pictures"
            make_flowers(root, per_class=max(2, args.count // len(CLASSES)), size=args.photo_size)
        scanned = scan_folder(root, read_layout(root, CLASSES, {}))
        pictures = sample_pictures(scanned, args.count)
        rows = loaders(scanned, pictures, args.size, Path(folder) / "cache")
        normalize = BatchNormalizer(
            InputDescription(args.size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875), torch.device("cpu")
        )
        times = measure(rows, len(pictures), args.rounds, normalize)
    first = next(iter(times.values()))
    source = "generated pictures" if args.photos is None else "photos"
    title = f"decode + augment, one thread, {len(pictures)} {source} to {args.size} px, {args.rounds} rounds"
    table = Table("", "ms/picture", "ratio", "range", title=title)
    for name, values in times.items():
        table.add_row(name, f"{median(values):.2f}", *ratio_cells(first, values))
    print_table(table, len(rows), [value for values in times.values() for value in values])


if __name__ == "__main__":
    main()
