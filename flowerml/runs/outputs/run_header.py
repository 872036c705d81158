"""The header on the console before the first step."""

import logging

import torch

from flowerml.errors import one_line
from flowerml.models.layer_groups import lr_multipliers
from flowerml.runs.outputs.tags_and_note import describe_weights, fold_in_words
from flowerml.runs.prepare import Prepared
from flowerml.settings.serialization import as_params
from flowerml.training.device import autocast_dtype
from flowerml.training.lora import adapted_matrices

logger = logging.getLogger(__name__)

_LONGEST_VALUE = 1000  # characters


def print_header(run: Prepared, remark: str | None) -> None:
    """Log data, split, class balance, model, checks, weights and settings; `remark` says what the run resumes from."""
    settings, built = run.settings, run.built
    for line in (*([remark] if remark else []), *run.data.remarks):
        line = one_line(line)  # names may have line breaks
        logger.warning(line.removeprefix("warning: ")) if line.startswith("warning: ") else logger.info(line)
    logger.info(
        f"split: {len(run.data.train)} train, {len(run.data.val)} val (seed {settings.split_seed}, digest"
        f" {run.digests.split[:8]}{fold_in_words(run)})"
    )
    logger.info("\n".join(run.balance.summary_lines()))
    smallest = min(lr_multipliers(built.layer_groups, settings.llrd))
    logger.info(
        f"model: {settings.model}, {built.parameters:,} parameters ({built.head_parameters:,} in the head),"
        f" {len(built.layer_groups)} layer groups, smallest rate factor {smallest:.3g}"
    )
    if settings.lora_rank:
        matrices = adapted_matrices(built.model.backbone).values()
        trained = sum(settings.lora_rank * sum(matrix.shape) for matrix in matrices)
        logger.info(
            f"LoRA: {trained:,} numbers are trained in place of the backbone's"
            f" {built.parameters - built.head_parameters:,}"
        )
    for line in run.task.describe_settings(built, settings, run.balance):
        logger.info(f"check: {line}")
    unused = f"; not used of the file: {', '.join(_shorten_list(built.unused))}" if built.unused else ""
    logger.info(f"weights: {describe_weights(run)}{unused}")
    logger.info("settings: " + ", ".join(f"{name} {_cut(text)}" for name, text in as_params(settings).items()))
    precision = str(autocast_dtype(run.device, amp=settings.amp) or torch.float32).removeprefix("torch.")
    logger.info(
        f"run: {settings.run_name}, configuration {run.shared_config_id[:8]}, seed {settings.seed}, on {run.device} in"
        f" {precision}, into {run.folder}"
    )


def _shorten_list(names: tuple[str, ...]) -> list[str]:
    return [*names[:5], f"and {len(names) - 5} more"] if len(names) > 6 else list(names)


def _cut(text: str) -> str:
    """A setting's value; of many classes the first."""
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… (whole in settings.json)"
