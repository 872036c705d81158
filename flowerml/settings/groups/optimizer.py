"""Optimiser and schedule: length, batches, learning rates, freezing, precision, averaging."""

from typing import Literal

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import OPTIMISER, RECIPE, setting
from flowerml.settings.values import Bool, Float, Int


class OptimizerSettings(SettingsGroup):
    """The group `optimiser` of `Settings`."""

    epochs: Int = setting(group=OPTIMISER, about="length of the schedule", unit="epochs", auto=RECIPE, ge=1, le=10_000)
    batch_size: Int = setting(
        group=OPTIMISER, about="pictures per optimiser step", unit="pictures", auto=RECIPE, ge=1, le=65_536
    )
    accumulate: Int = setting(
        1, group=OPTIMISER, about="split each batch into this many parts to save memory", ge=1, le=1024, identity=False
    )
    optimizer: Literal["adamw", "sgd"] = setting("adamw", group=OPTIMISER, about="update rule (sgd: momentum 0.9)")
    lr_head: Float = setting(group=OPTIMISER, about="learning rate of the head", auto=RECIPE, gt=0, le=10)
    lr_backbone: Float = setting(
        group=OPTIMISER, about="learning rate of the backbone's top layers", auto=RECIPE, ge=0, le=10
    )
    weight_decay: Float = setting(
        group=OPTIMISER, about="decay of weights; biases, norms, GRN are spared", auto=RECIPE, ge=0, le=10
    )
    llrd: Float = setting(
        group=OPTIMISER, about="layer decay: factor per layer group, top down", auto=RECIPE, gt=0, le=1
    )
    scheduler: Literal["cosine", "plateau", "constant"] = setting(
        "cosine", group=OPTIMISER, about="what the learning rates do after warm-up"
    )
    warmup_epochs: Int = setting(group=OPTIMISER, about="linear warm-up", unit="epochs", auto=RECIPE, ge=0, le=10_000)
    plateau_factor: Float = setting(0.5, group=OPTIMISER, about="plateau: multiply the rates by this", gt=0, lt=1)
    plateau_patience: Int = setting(
        3, group=OPTIMISER, about="plateau: epochs without a better val_loss", unit="epochs", ge=0, le=10_000
    )
    min_lr: Float = setting(1e-6, group=OPTIMISER, about="plateau: no rate falls below this", ge=0, le=10)
    grad_clip: Float = setting(1.0, group=OPTIMISER, about="largest gradient norm; 0 does not clip", ge=0, le=1e6)
    sam_rho: Float = setting(
        0.0,
        group=OPTIMISER,
        about="sharpness-aware minimisation: take the gradient at weights moved so far uphill, 0.05 for example; two"
        " passes per step; 0 is off",
        ge=0,
        le=10,
        late=True,
    )
    lora_rank: Int = setting(
        0,
        group=OPTIMISER,
        about="LoRA: train this many directions of each matrix of the backbone in place of all of it; 0 is off",
        ge=0,
        le=1024,
        late=True,
    )
    freeze_backbone_epochs: Int = setting(
        group=OPTIMISER, about="first epochs train the head alone", unit="epochs", auto=RECIPE, ge=0, le=10_000
    )
    freeze_views: Int = setting(
        0,
        group=OPTIMISER,
        about="train the head, while the backbone is frozen, on features of so many augmented views of each picture,"
        " computed once; 0 computes new ones in each epoch",
        unit="views",
        ge=0,
        le=64,
        late=True,
    )
    probe: Bool = setting(
        False,
        group=OPTIMISER,
        about="linear probing: train the head alone, on features of the frozen backbone that are computed once",
        late=True,
    )
    amp: Bool = setting(
        True, group=OPTIMISER, about="mixed precision: bf16; without it fp16 with a scaler on a GPU, fp32 on a CPU"
    )
    tf32: Literal["off", "convolutions", "on"] = setting(
        "convolutions",
        group=OPTIMISER,
        about="what a GPU may train in TF32 instead of fp32: nothing, convolutions, or matrix products too",
        late=True,
    )
    ema: Bool = setting(
        True, group=OPTIMISER, about="evaluate and keep a moving average of the weights, scaled to the run's length"
    )
