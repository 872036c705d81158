"""Everything that needs a GPU, in one call of under ten minutes; writes the tables to a Markdown file.

    make gpu
    python benchmarks/gpu.py [--photos FOLDER] [--device cuda] [--output benchmarks/RESULTS_GPU.md]

Parts: (1) `flowerml train` at full size with random weights, stopped by SIGTERM and resumed; (2) optimiser steps in
each precision, compiled and with gradient checkpointing: images per second, share of the card's peak, memory, and how
often a step waits for the GPU; (3) a batch that does not fit, with the memory really used up; (4) whole epochs against
steps alone: what loading costs. Without `--photos` (a folder with one sub-folder of pictures per class) the pictures
are generated. `--quick` runs the same parts on a CPU with a tiny model. A part that fails is a row that says so, and
exit code 1.
"""

import argparse
import csv
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from support.harness import logger, parse_arguments
from torch.profiler import ProfilerActivity, profile

from flowerml.data.balance import Balance
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.errors import RunFailed
from flowerml.files import write_text
from flowerml.models import build
from flowerml.models.builders import set_channels_last
from flowerml.models.resources.cost import multiply_adds
from flowerml.models.resources.memory import enable_grad_checkpointing
from flowerml.settings import Family, find_model, resolve
from flowerml.training.ema import EMA
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.train_step import TrainStep, make_train_step

MODELS = (("convnextv2_large", 224, 64), ("clip_vitl14", 224, 64))  # name, input edge [px], batch
TINY = (("timm:test_convnext2", 32, 8),)
WAITS = (
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "aten::_local_scalar_dense",
)  # a step that is queued has none
WARM_UP = 3  # steps
Row = list[str]


@dataclass(frozen=True)
class Variant:
    """How steps are computed: autocast type or None (fp32), compiled, with gradient checkpointing."""

    name: str
    dtype: torch.dtype | None
    compiled: bool = False
    checkpointing: bool = False


VARIANTS = (
    Variant("bf16", torch.bfloat16),
    Variant("bf16, compiled", torch.bfloat16, compiled=True),
    Variant("bf16, gradient checkpointing", torch.bfloat16, checkpointing=True),
    Variant("fp16", torch.float16),
    Variant("fp32", None),
)
QUICK = {
    "models": TINY,
    "variants": [variant for variant in VARIANTS if not variant.compiled],  # a minute and a half on a CPU
    "device": "cpu",
    "steps": 2,
    "per_class": 8,
    "photo_size": 64,
    "output": None,
}


def make_step(name: str, size: int, device: torch.device, variant: Variant) -> tuple[TrainStep, EMA]:
    """The trainer's own step and EMA for a model with random weights."""
    settings, _ = resolve({"model": name, "weights": "none", "img_size": size, "compile": variant.compiled})
    spec = find_model(name)
    built = build(spec, len(CLASSES), img_size=size)
    if variant.checkpointing:
        enable_grad_checkpointing(built.model.backbone, spec)
    model = built.model.to(device)
    set_channels_last(model, spec)
    groups = parameter_groups(model, built.layer_groups, lr_head=1e-3, lr_backbone=1e-4, weight_decay=0.02, llrd=1.0)
    optimizer = make_optimizer("adamw", groups, fused=device.type == "cuda")
    uniform = (1,) * len(CLASSES)
    balance = Balance(CLASSES, counts=uniform, repeats=uniform, weights=None)
    train_step = make_train_step(model, optimizer, settings, balance, device, logger.warning)
    return replace(train_step, dtype=variant.dtype), EMA(model, 1000)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def fresh_memory(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    yield
    if device.type == "cuda":
        torch.cuda.empty_cache()


def measure_steps(
    name: str, size: int, batch: int, device: torch.device, variant: Variant, steps: int, peak: float
) -> Row:
    """Steps with EMA on random inputs: images per second, TFLOP/s and their share of the card's, memory, waits."""
    with fresh_memory(device):
        step, ema = make_step(name, size, device, variant)
        assert step.deferred is (device.type == "cuda")
        inputs = torch.randn(batch, 3, size, size, device=device)
        if find_model(name).family is not Family.VIT:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(len(CLASSES), (batch,), device=device)
        model = step.uncompiled or step.model
        flops = 3 * 2 * multiply_adds(model, torch.zeros(1, 3, size, size))  # forward, and twice that backward

        def run(count: int) -> None:
            for number in range(count):
                step.queue(inputs, labels, number, "benchmark")
                ema.update(model)

        run(WARM_UP)
        synchronize(device)
        started = time.perf_counter()
        run(steps)
        synchronize(device)
        rate = steps * batch / (time.perf_counter() - started)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        with profile(activities=activities) as profiled:
            run(2)
        waits = sum(event.count for event in profiled.key_averages() if event.key in WAITS) / 2
        memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
        achieved = rate * flops / 1e12
        share = f"{achieved / peak:.0%}" if peak and variant.dtype else "–"
        return [name, variant.name, f"{rate:,.0f}", f"{achieved:.1f}", share, f"{memory:.1f}", f"{waits:g}"]


def run_out_of_memory(name: str, size: int, device: torch.device) -> Row:
    """A batch that does not fit, as what else uses the memory leaves too little: it is halved until it does."""
    said: list[str] = []
    with fresh_memory(device):
        step, _ = make_step(name, size, device, VARIANTS[0] if device.type == "cuda" else VARIANTS[-1])
        step.on_memory = said.append
        batch = 16
        run = partial(step.queue, seed=1, context="benchmark, step 1, pictures x")
        labels = torch.randint(len(CLASSES), (batch,), device=device)
        inputs = torch.randn(batch, 3, size, size, device=device)
        if device.type == "cuda":
            run(inputs[:1], labels[:1])  # the optimizer's state
            synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            run(inputs[:2], labels[:2])
            synchronize(device)
            needed = torch.cuda.max_memory_allocated(device) - before  # by two images
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(device)
            filler = torch.empty(max(0, free - int(1.5 * needed)), dtype=torch.uint8, device=device)
        else:
            limited = LimitedModel(step.model, at_most=4)
            step.model, filler = limited, torch.empty(0)
        loss, _ = run(inputs, labels).read()
        del filler
    if not said or step.accumulate < 2:
        raise RuntimeError(f"{name}: a batch of {batch} fitted, so nothing was shown")
    return [name, f"loss {loss:.3f}", said[-1]]


class LimitedModel(torch.nn.Module):
    """A model on a device whose memory takes `at_most` images: torch's own error above that."""

    def __init__(self, model: torch.nn.Module, at_most: int) -> None:
        super().__init__()
        self.model, self.at_most = model, at_most

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        if len(inputs) > self.at_most:
            raise torch.OutOfMemoryError("out of memory")
        logits: torch.Tensor = self.model(inputs)
        return logits


def train_command(name: str, size: int, batch: int, photos: Path, output: Path, device: str, epochs: int) -> list[str]:
    words = f"--model {name} --weights none --img-size {size} --batch-size {batch} --epochs {epochs} --device {device}"
    words += " --warmup-epochs 0 --freeze-backbone-epochs 0 --duplicates keep"
    started = [sys.executable, "-m", "flowerml.cli.main", "train", *words.split()]
    return [*started, "--train-dir", str(photos), "--output-dir", str(output)]


def start(command: Sequence[str], store: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop_and_resume(command: Sequence[str], store: Path) -> str:
    """Start a run, stop it by SIGTERM after its first epoch, start it again; it must be FINISHED then.

    Raises:
        RuntimeError: it is not.
    """
    first = start(command, store)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 1/"):
            first.send_signal(signal.SIGTERM)
    stopped = first.wait()
    second = start(command, store)
    said, _ = second.communicate()
    if second.returncode or "is FINISHED" not in said:
        raise RuntimeError(f"{' '.join(command)}: {stopped}, then {second.returncode}\n{said[-2000:]}")
    resumed = next((line for line in said.splitlines() if "resum" in line or "goes on" in line), "")
    if not resumed and stopped:
        raise RuntimeError(f"{' '.join(command)}: did not resume\n{said[-2000:]}")
    return resumed.rpartition(": ")[2].strip() or "was done before the signal came"


def rates(history: Path) -> list[float]:
    with history.open() as handle:
        return [float(row["images_per_second"]) for row in csv.DictReader(handle)]


def measure_training(
    name: str, size: int, batch: int, photos: Path, folder: Path, device: str, step_rate: float
) -> Row:
    """`flowerml train`, stopped and resumed: seconds, images per second of its last epoch, share lost to loading."""
    output = folder / name.replace(":", "-")
    started = time.perf_counter()
    remark = stop_and_resume(train_command(name, size, batch, photos, output, device, 3), folder / "mlflow.db")
    seconds = time.perf_counter() - started
    rate = rates(output / "history.csv")[-1]
    stall = f"{max(0.0, 1 - rate / step_rate):.0%}" if step_rate else "–"
    return [name, f"{seconds:.0f}", f"{rate:,.0f}", stall, remark]


@dataclass
class Report:
    """Tables in Markdown, and the parts that failed."""

    text: str = ""
    failed: int = 0

    def table(self, title: str, head: Sequence[str], jobs: Sequence[Callable[[], Row]]) -> list[Row]:
        """Run the jobs, one row each, and add their table. A job that fails is a row with its error."""
        rows: list[Row] = []
        for job in jobs:
            try:
                rows.append(job())
            except (RuntimeError, RunFailed, OSError, AssertionError) as error:
                self.failed += 1
                reason = (str(error) or type(error).__name__).replace("\n", " ")[:300]
                rows.append(["FAILED", reason, *[""] * (len(head) - 2)])
            logger.info(" | ".join(rows[-1]))
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
        self.text += f"\n## {title}\n\n" + "\n".join(lines) + "\n"
        return rows


def describe(device: torch.device) -> str:
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"# Measured on a GPU\n\nWritten by `make gpu`: {card}, {versions}.\n"


def run_parts(args: argparse.Namespace, photos: Path, folder: Path) -> Report:
    """All parts for all models."""
    device = torch.device(args.device)
    report = Report(describe(device))
    jobs = [
        partial(measure_steps, name, size, batch, device, variant, args.steps, args.peak_tflops)
        for name, size, batch in args.models
        for variant in args.variants
    ]
    head = ("model", "steps", "images/s", "TFLOP/s", "of peak", "GB", "waits a step")
    rows = report.table("Steps alone", head, jobs)
    fastest: Mapping[str, float] = {row[0]: float(row[2].replace(",", "")) for row in rows if row[1] == "bf16"}
    report.table(
        "A batch that does not fit",
        ("model", "result", "said"),
        [partial(run_out_of_memory, name, size, device) for name, size, _ in args.models],
    )
    report.table(
        "`flowerml train`, stopped by SIGTERM after an epoch and started again",
        ("model", "seconds", "images/s", "lost to loading", "said"),
        [
            partial(measure_training, name, size, batch, photos, folder, args.device, fastest.get(name, 0.0))
            for name, size, batch in args.models
        ],
    )
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS_GPU.md"), help="Markdown file")
    parser.add_argument("--steps", type=int, default=30, help="steps that are measured (default: 30)")
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="the card's dense bf16 peak; default: 989, an H100 or H200"
    )
    parser.set_defaults(models=MODELS, variants=VARIANTS, per_class=128, photo_size=480)
    args = parse_arguments(parser, QUICK)
    if args.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("error: torch sees no GPU here. `--quick` runs the same parts on a CPU with a tiny model")
    with tempfile.TemporaryDirectory() as temporary:
        photos = args.photos or Path(temporary) / "photos"
        if args.photos is None:
            make_flowers(photos, per_class=args.per_class, size=args.photo_size)
        report = run_parts(args, photos, Path(temporary))
    if args.output is not None:
        write_text(args.output, report.text)
    print(report.text)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
