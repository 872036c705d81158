"""Everything that can fail before a run starts: data, model, configuration id, folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from flowerml.data.balance import Balance, compute_balance
from flowerml.data.rng import derive_seed
from flowerml.errors import UserError
from flowerml.models import BuiltModel, weights_digest
from flowerml.settings import Digests, ModelSpec, Settings, config_id, find_model
from flowerml.tasks import Task, TaskData, task_for
from flowerml.training.device import pick_device


@dataclass(frozen=True)
class Prepared:
    """A run that can start. `settings` are complete: only unused ones are None."""

    settings: Settings
    spec: ModelSpec
    task: Task
    data: TaskData
    built: BuiltModel
    balance: Balance
    digests: Digests
    config_id: str
    folder: Path
    device: torch.device
    workers: int


def prepare(settings: Settings) -> Prepared:
    """Scan the data, build the model, complete the settings; writes nothing.

    Raises:
        UserError: a problem with device, weights, data or model.
    """
    _require_own_test_folder(settings)
    spec = find_model(settings.model)
    device = pick_device(settings.device)
    weights = weights_digest(settings.weights, spec)  # a wrong path fails before the pictures are read
    task = task_for(spec)
    data = task.prepare(settings)
    torch.manual_seed(derive_seed(settings.seed, "init"))
    built = task.build(spec, settings, data.classes)
    description = built.description
    digests = Digests(data.split.data_digest, data.split.digest, weights)
    workers = default_workers(device) if settings.workers is None else settings.workers
    complete = settings.replace(
        classes=data.classes,
        mean=description.mean,
        std=description.std,
        interpolation=description.interpolation,
        crop_pct=description.crop_pct,
        device=str(device),
        workers=workers,
        experiment=settings.experiment or task.name,
    )
    identity = config_id(complete, digests)
    name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', spec.name)}-{identity[:8]}-s{settings.seed}"
    folder = Path(settings.output_dir or Path(settings.runs_root) / name)
    complete = complete.replace(output_dir=str(folder), run_name=settings.run_name or folder.name[:250])
    labels = [example.label for example in data.train]
    class_balance = compute_balance(
        data.classes,
        labels,
        settings.class_weights,
        settings.oversample,
        effective_beta=settings.effective_beta,
        logit_adjustment=settings.logit_adjustment,
    )
    return Prepared(complete, spec, task, data, built, class_balance, digests, identity, folder, device, workers)


def _require_own_test_folder(settings: Settings) -> None:
    if settings.test_dir is not None and os.path.realpath(settings.test_dir) == os.path.realpath(settings.train_dir):
        raise UserError(
            f"--test-dir {settings.test_dir} is the training folder (--train-dir {settings.train_dir}): no test of a"
            " model that has seen it. Name a folder of other pictures, or leave it out: the validation pictures are"
            " held out anyway"
        )


def default_workers(device: torch.device) -> int:
    """Number of loader processes: up to 16 for a GPU; at most 1 on a CPU, which needs its cores for the training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores) if device.type == "cuda" else min(1, cores - 1)
