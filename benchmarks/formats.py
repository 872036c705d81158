"""Delivered formats side by side: size, speed on the CPU, and what they change; `.pth`, ONNX, int8, OpenVINO, .pt2.

    python benchmarks/formats.py --checkpoint runs/<run>/best.pth --photos data/train

`--checkpoint` can be repeated; `--photos` is the folder that the runs were trained on, and may hold a part of it: those
of their validation photos that are there are named with the ONNX files. Without a checkpoint the models have random
weights and the pictures are generated. Each file is loaded in a process of its own; each round times all of them, one
after the other, and the best of each counts.
"""

import argparse
import csv
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from support.harness import parse_arguments, print_table, start_as_commands_do

from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.delivery.formats.check import FormatCheck, check_formats
from flowerml.delivery.formats.convert import Converted, convert
from flowerml.delivery.formats.request import Format, FormatRequest, Int8
from flowerml.delivery.verify import Expected
from flowerml.human_units import amount
from flowerml.models import build
from flowerml.prediction import as_predictor
from flowerml.prediction.delivered import (
    CLASSIFIER,
    CLASSIFIER_ONNX,
    WEIGHTS,
    for_delivery,
    single_file,
    single_file_onnx,
)
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

QUICK = {"models": ("timm:test_vit2",), "rounds": 1, "size": 64}
PER_CLASS = 8


def random_run(name: str, size: int, folder: Path) -> tuple[Checkpoint, Expected]:
    """A checkpoint with random weights, and what its run would have recorded of generated pictures."""
    torch.manual_seed(11)
    spec = find_model(name)
    built = build(spec, len(CLASSES), img_size=size)
    checkpoint = Checkpoint(built.model.state_dict(), spec, CLASSES, built.description, 1, {}, {"model": name}, None)
    photos = folder / "photos"
    make_flowers(photos, per_class=PER_CLASS, size=96, seed=3)
    files = sorted(path for path in photos.rglob("*") if path.is_file() and path.suffix in (".jpg", ".png"))
    model = as_predictor(checkpoint, "cpu", name)
    inputs = torch.stack([model.preprocess(path) for path in files])
    with torch.inference_mode():
        logits = model(inputs)
    np.savez(folder / "probe.npz", inputs=inputs[:16].numpy(), logits=logits[:16].numpy())
    rows = [
        (f"{path.parent.name}/{path.name}", path.parent.name, CLASSES[place])
        for path, place in zip(files, logits.argmax(1), strict=True)
    ]
    with (folder / "predictions.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("image", "label", "predicted"), *rows])
    return checkpoint, Expected(folder / "probe.npz", folder / "predictions.csv", photos)


def recorded_run(path: Path, photos: Path) -> tuple[Checkpoint, Expected]:
    """A run's checkpoint and what it recorded, beside it."""
    return load_checkpoint(path), Expected(path.with_name("probe.npz"), path.with_name("predictions.csv"), photos)


def write_all(folder: Path, weights: str, checkpoint: Checkpoint, expected: Expected) -> list[Converted]:
    """Write the `.pth`, every other format, both int8 files, and the Python files into `folder`."""
    save_checkpoint(folder / weights, for_delivery(checkpoint))
    (folder / CLASSIFIER).write_text(single_file({}), "utf-8")
    (folder / CLASSIFIER_ONNX).write_text(single_file_onnx({}), "utf-8")
    made = convert(checkpoint, weights, FormatRequest(tuple(Format), Int8.DYNAMIC), expected, folder)
    dynamic = next(one for one in made if one.precision == "int8 dynamic")
    renamed = dynamic.files[0].with_stem(f"{dynamic.files[0].stem}_dynamic")
    dynamic.files[0].rename(renamed)
    made[made.index(dynamic)] = replace(dynamic, files=(renamed,))
    return made + convert(checkpoint, weights, FormatRequest((Format.ONNX,), Int8.STATIC), expected, folder)[1:]


def print_checks(title: str, checks: list[FormatCheck]) -> None:
    """One table; in brackets the time relative to that of the `.pth`."""
    table = Table("", title=title)
    for heading in ("size", "ms/picture, single", "ms/picture, in 16s", "logits within", "labels changed", "accuracy"):
        table.add_column(heading, justify="right")
    for check in checks:
        times = [f"{value:.1f} ({value / checks[0].ms[batch]:.2f})" for batch, value in check.ms.items()]
        gain = check.gain
        table.add_row(
            check.format if check.precision == "fp32" else f"{check.format} {check.precision}",
            amount(check.bytes),
            *times,
            f"{check.logit_difference:.1e}",
            f"{check.probe_labels} of {check.probe_inputs}",
            "" if gain is None else f"{gain.gain:+.4f} ({gain.interval.low:+.4f} to {gain.interval.high:+.4f})",
        )
    print_table(table, 6, [value for check in checks for value in check.ms.values()], width=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], help="a run's best.pth; repeatable")
    parser.add_argument("--photos", type=Path, help="the folder of pictures that the runs were trained on")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all formats (default: 5)")
    parser.set_defaults(models=("timm:mobilenetv2_100",), size=224)
    args = parse_arguments(parser, QUICK)
    start_as_commands_do()
    if args.checkpoint and args.photos is None:
        parser.error("--checkpoint needs --photos, the folder of pictures that the run was trained on")
    for source in args.checkpoint or args.models:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            if args.checkpoint:
                checkpoint, expected = recorded_run(source, args.photos)
            else:
                checkpoint, expected = random_run(source, args.size, place)
            weights = WEIGHTS[str(checkpoint.spec.family)]
            made = write_all(place, weights, checkpoint, expected)
            checks = check_formats(place, weights, made, checkpoint, expected, rounds=args.rounds)
        title = f"{checkpoint.spec.name} at {checkpoint.description.size} px, CPU, {args.rounds} rounds (ratio to .pth)"
        print_checks(title, checks)


if __name__ == "__main__":
    main()
