"""Everything that can fail before a run starts: data, model, configuration id, folder."""

import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flowerml.data.balance import Balance, compute_balance
from flowerml.data.rng import derive_seed
from flowerml.errors import UserError
from flowerml.models import BuiltModel, weights_digest
from flowerml.models.resources.memory import enable_grad_checkpointing
from flowerml.models.resources.smallest_batch import smallest_batch
from flowerml.settings import Digests, ModelSpec, Settings, config_id, find_model
from flowerml.tasks import Task, TaskData, task_for
from flowerml.training.device import default_workers, use_device
from flowerml.training.distributed.torchrun import Torchrun
from flowerml.training.lora import adapted_matrices

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A run that can start. `settings` are complete: only unused ones are None.

    `config_id` and `digests` are those of this run. With cross-validation `shared_config_id` and
    `shared_split_digest` are the same for all folds, and what a selection groups runs by; else they are equal to them.
    `shared_backbone` is the folder for a backbone that is not trained and that other runs have too, if `best.pth` is
    not to hold it.
    """

    settings: Settings
    spec: ModelSpec
    task: Task
    data: TaskData
    built: BuiltModel
    balance: Balance
    digests: Digests
    config_id: str
    shared_config_id: str
    shared_split_digest: str
    folder: Path
    device: torch.device
    workers: int
    smallest_batch: int = 1
    shared_backbone: Path | None = None


def prepare(settings: Settings, torchrun: Torchrun | None = None) -> Prepared:
    """Scan the data, build the model, complete the settings; writes nothing.

    `torchrun` is this process's place among those that train together, where they were started already.

    Raises:
        UserError: a problem with device, weights, data or model.
    """
    _require_own_test_folder(settings)
    spec = find_model(settings.model)
    processes = torchrun.local_world if torchrun is not None else settings.gpus
    device = use_device(settings.device, processes)
    weights = weights_digest(settings.weights, spec)  # a wrong path fails before the pictures are read
    if settings.head_init == "text":
        # Imported on use: open_clip takes seconds.
        from flowerml.models.text_head import require_text_tower

        require_text_tower(spec, settings.weights)
    task = task_for(spec)
    data = task.prepare(settings)
    torch.manual_seed(derive_seed(settings.seed, "init"))
    built = task.build(spec, settings, data.classes)
    if settings.grad_checkpointing:
        enable_grad_checkpointing(built.model.backbone, spec)
    if settings.lora_rank and not adapted_matrices(built.model.backbone):
        raise UserError(
            f"--lora-rank {settings.lora_rank}: the backbone of {settings.model} has no linear layers. Allowed with it:"
            " transformers, and CNNs with linear layers, as ConvNeXt"
        )
    description = built.description
    digests = Digests(data.split.data_digest, data.split.digest, weights)
    workers = default_workers(device, processes) if settings.workers is None else settings.workers
    complete = settings.replace(
        classes=data.classes,
        mean=description.mean,
        std=description.std,
        interpolation=description.interpolation,
        crop_pct=description.crop_pct,
        device=str(device),
        workers=workers,
        compile=False if settings.compile is None and device.type != "cuda" else settings.compile,
        experiment=settings.experiment or task.name,
    )
    identity, shared = config_id(complete, digests), replace(digests, split=data.split.folds_digest)
    shared_identity = config_id(complete, shared)
    name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', spec.name)}-{shared_identity[:8]}-s{settings.seed}"
    folder = Path(settings.output_dir or Path(settings.runs_root) / name)
    if settings.folds and settings.output_dir is None:
        folder = fold_folder(folder.with_name(f"{name}-folds{settings.folds}"), settings.fold or 1)
    in_words = fold_name(folder) if settings.folds else folder.name
    complete = complete.replace(output_dir=str(folder), run_name=settings.run_name or in_words[-250:])
    labels = [example.label for example in data.train]
    class_balance = compute_balance(
        data.classes,
        labels,
        settings.class_weights,
        settings.oversample,
        effective_beta=settings.effective_beta,
        logit_adjustment=settings.logit_adjustment,
    )
    smallest = _smallest_batch(built, settings, sum(class_balance.repeats[label] for label in labels))
    return Prepared(
        complete,
        spec,
        task,
        data,
        built,
        class_balance,
        digests,
        identity,
        shared_identity,
        shared.split,
        folder,
        device,
        workers,
        smallest,
    )


def fold_folder(parent: Path, fold: int) -> Path:
    """The folder of a fold's run in that of a cross-validation."""
    return parent / f"fold{fold}"


def fold_name(folder: Path) -> str:
    """The name of the run in a folder that is one of `fold_folder`; of any other, the folder's name."""
    return f"{folder.parent.name}-{folder.name}" if re.fullmatch(r"fold\d+", folder.name) else folder.name


def _smallest_batch(built: BuiltModel, settings: Settings, pictures: int) -> int:
    """How many of an epoch's `pictures` the model can be trained on at a time. Raises UserError where that is too many.

    Parts of `--accumulate` that would be smaller are said in a line.
    """
    frozen = settings.freeze_backbone_epochs >= (settings.stop_epoch or settings.epochs)
    smallest = smallest_batch(built.model, settings.img_size, frozen=frozen)
    if settings.gpus > 1:
        _require_a_share_for_each(settings, smallest, pictures)
    if smallest == 1:
        return 1
    why = f"{settings.model} has a BatchNorm that needs at least {smallest} pictures at a time at --img-size"
    if settings.batch_size < smallest:
        raise UserError(
            f"--batch-size {settings.batch_size}: {why} {settings.img_size}. Allowed: {smallest} or more; or a larger"
            " --img-size"
        )
    if pictures < smallest:
        raise UserError(
            f"--train-dir {settings.train_dir}: {why} {settings.img_size}, and one is all there is to train on. Add"
            " pictures, or take a larger --img-size"
        )
    if settings.batch_size < smallest * settings.accumulate:
        logger.warning(f"--accumulate {settings.accumulate}: {why} {settings.img_size}, so there are fewer parts")
    return smallest


def _require_a_share_for_each(settings: Settings, smallest: int, pictures: int) -> None:
    """Raise UserError where a process would get fewer than `smallest` pictures of a batch."""
    least = smallest * settings.gpus
    of_each = f"each of the {settings.gpus} processes (--gpus) needs {smallest} of every batch"
    if settings.batch_size < least:
        raise UserError(f"--batch-size {settings.batch_size}: {of_each}. Allowed: {least} or more; or fewer --gpus")
    if pictures < least:
        raise UserError(
            f"--train-dir {settings.train_dir}: {of_each}, and {pictures} are all there is to train on: fewer --gpus"
        )


def _require_own_test_folder(settings: Settings) -> None:
    if settings.test_dir is not None and os.path.realpath(settings.test_dir) == os.path.realpath(settings.train_dir):
        raise UserError(
            f"--test-dir {settings.test_dir} is the training folder (--train-dir {settings.train_dir}): no test of a"
            " model that has seen it. Name a folder of other pictures, or leave it out: the validation pictures are"
            " held out anyway"
        )
