"""Prediction of a folder of pictures: `flowerml predict` against a plain loop with timm and a DataLoader.

    python benchmarks/predict.py --photos FOLDER

Both compute the probabilities of the same random network for the same pictures in the same order, on a CPU with one
process or thread that decodes. Without `--photos` the pictures are generated. Each round measures both, one after the
other.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import timm
import torch
from PIL import Image
from rich.table import Table
from support.harness import parse_arguments, print_table, ratio_cells
from torch import nn
from torch.utils.data import DataLoader, Dataset

from flowerml.data.folders import find_pictures
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.prediction.files import predict_files
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier
from flowerml.prediction.standalone.pictures import Input

QUICK = {"count": 10, "rounds": 1, "size": 64, "photo_size": 96, "model": "mobilenetv2_050"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(Dataset[torch.Tensor]):
    """Pictures as timm's own scripts read them."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self._paths = paths
        self._transform = timm.data.create_transform(
            input_size=(3, size, size), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.875
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self._paths[index]) as picture:
            view: torch.Tensor = self._transform(picture.convert("RGB"))
        return view


@torch.inference_mode()
def plain_loop(network: nn.Module, paths: Sequence[Path], size: int, workers: int) -> torch.Tensor:
    """Probabilities (N, C)."""
    loader = DataLoader(Pictures(paths, size), batch_size=32, num_workers=workers)
    return torch.cat([network(batch).softmax(dim=1) for batch in loader])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of pictures, looked through at any depth")
    parser.add_argument("--count", type=int, default=400, help="pictures that are predicted (default: 400)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both (default: 5)")
    parser.add_argument("--size", type=int, default=224, help="edge of the model's input in px (default: 224)")
    parser.add_argument("--model", default="mobilenetv2_100", help="timm's name of it (default: mobilenetv2_100)")
    parser.add_argument("--workers", type=int, default=1, help="processes or threads that decode (default: 1)")
    parser.set_defaults(photo_size=480)
    args = parse_arguments(parser, QUICK)
    torch.manual_seed(11)
    backbone = timm.create_model(args.model, num_classes=0).eval()
    head = nn.Linear(backbone.num_features, len(CLASSES))
    model = FlowersClassifier(backbone, head, CLASSES, "cnn", Input(args.size, MEAN, STD, "bicubic", 0.875))
    network = nn.Sequential(backbone, head).eval()
    with tempfile.TemporaryDirectory() as folder:
        root = args.photos
        if root is None:
            root = Path(folder)
            make_flowers(root, per_class=max(2, args.count // len(CLASSES)), size=args.photo_size)
        found, _ = find_pictures([root])
        paths = found[:: max(1, len(found) // args.count)][: args.count]
        rows: dict[str, Callable[[], object]] = {
            "timm + DataLoader": lambda: plain_loop(network, paths, args.size, args.workers),
            "flowerml predict": lambda: list(predict_files(model, paths, args.workers)),
        }
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(args.rounds + 1):
            for name, action in rows.items():
                started = time.perf_counter()
                action()
                times[name].append(time.perf_counter() - started)
    measured = {name: values[1:] for name, values in times.items()}  # the first round fills the file cache
    first = next(iter(measured.values()))
    title = f"{len(paths)} pictures, {args.model} at {args.size} px, {args.rounds} rounds"
    table = Table("", "pictures/s", "ratio", "range", title=title)
    for name, values in measured.items():
        table.add_row(name, f"{len(paths) / median(values):.1f}", *ratio_cells(first, values))
    print_table(table, len(rows), [value for values in measured.values() for value in values])


if __name__ == "__main__":
    main()
