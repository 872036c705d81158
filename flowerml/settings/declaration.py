"""The declaration of every training setting: name, type, default, range, unit, help, part of the identity or not.

Command line, MLproject parameters, MLflow params, `settings.json` and plan files derive from this class, or are tested
against it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.fields import FieldInfo

from flowerml.settings.spec import AUGMENT, BALANCE, MODEL, OPTIMISER, RECIPE, RELATION, RUN, STOPPING, TASK, setting
from flowerml.settings.values import Bool, ClassNames, DataPath, Float, Int, RgbTriple, Text, parse_none

AUTO = "auto"
SMALLEST_IMAGE, LARGEST_IMAGE = 16, 2048  # px
_PLACE = "a path, or s3://… or https://… without user, password and query"


class Settings(BaseModel):
    """The settings of one training run: frozen, typed, validated. No field is `auto` once the run has been prepared.

    None means "determined later" (the model's input description, the device, names; `compile` on a GPU, while it
    trains) or "not used" (`test_dir`, `stop_epoch`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Text = setting(
        "convnextv2_large",
        group=MODEL,
        about="what to train",
        allowed="catalogue name, timm:NAME, openclip:ARCH[/TAG], relation:timm:NAME",
    )
    weights: Text = setting(
        "hub",
        group=MODEL,
        about="pretrained weights",
        allowed="hub, none, PATH of a .safetensors or .pth",
        identity=False,
        min_length=1,
    )
    img_size: Int = setting(
        group=MODEL,
        about="edge of the square the model sees",
        unit="px",
        auto=RECIPE,
        ge=SMALLEST_IMAGE,
        le=LARGEST_IMAGE,
    )
    mean: RgbTriple | None = setting(
        None, group=MODEL, about="channel means of the input, R,G,B", auto="the model's own"
    )
    std: RgbTriple | None = setting(
        None, group=MODEL, about="channel deviations of the input, R,G,B", auto="the model's own"
    )
    interpolation: Literal["bilinear", "bicubic"] | None = setting(
        None, group=MODEL, about="how pictures are resized", auto="the model's own"
    )
    crop_pct: Float | None = setting(
        None, group=MODEL, about="share of the short edge kept by the centre crop", auto="the model's own", gt=0.1, le=1
    )
    dropout: Float = setting(group=MODEL, about="dropout before the head", auto=RECIPE, ge=0, lt=1)
    head_init: Literal["random", "text"] = setting(
        "random",
        group=MODEL,
        about="start of the head: small random weights, or the embeddings of the class names by the text tower of"
        " open_clip weights",
        late=True,
    )
    drop_path: Float = setting(group=MODEL, about="stochastic depth of the backbone", auto=RECIPE, ge=0, lt=1)

    train_dir: DataPath = setting(
        "data/train",
        group=TASK,
        about="folder with one sub-folder of pictures per class, or a list of pictures",
        allowed=_PLACE,
        identity=False,
        min_length=1,
    )
    test_dir: Annotated[DataPath | None, BeforeValidator(parse_none)] = setting(
        None,
        group=TASK,
        about="untouched folder, evaluated once with the best weights",
        auto="none",
        allowed=_PLACE,
        identity=False,
        min_length=1,
    )
    classes: ClassNames | None = setting(
        None,
        group=TASK,
        about="class names, or `folders`: every sub-folder, or every label of a list",
        auto="the task's own",
        allowed="names, comma-separated, each once",
    )
    val_split: Float = setting(
        0.2, group=TASK, about="share held out of every class; 0 trains on everything", ge=0, lt=1, identity=False
    )
    split_seed: Int = setting(
        11, group=TASK, about="seed of the split, which stays while --seed varies", ge=0, le=2**31, identity=False
    )
    folds: Int = setting(
        0,
        group=TASK,
        about="cross-validation: every picture is held out in one of so many runs; 0: one split by --val-split",
        ge=0,
        le=20,
        identity=False,
    )
    fold: Annotated[Int | None, BeforeValidator(parse_none)] = setting(
        None,
        group=TASK,
        about="the fold that this run holds out, from 1; left out: all, one run after the other",
        auto="all",
        ge=1,
        identity=False,
    )
    bad_images: Literal["stop", "skip"] = setting(
        "stop", group=TASK, about="pictures that can't be read: stop, or go on without them", identity=False
    )
    duplicates: Literal["stop", "keep", "drop"] = setting(
        "stop",
        group=TASK,
        about="one photo under two labels: stop, train on all its copies, or on none",
        identity=False,
    )

    annotations: Annotated[Text | None, BeforeValidator(parse_none)] = setting(
        None,
        group=RELATION,
        about="boxes and relations of the pictures in --train-dir",
        auto="found there",
        identity=False,
        min_length=1,
    )
    test_annotations: Annotated[Text | None, BeforeValidator(parse_none)] = setting(
        None, group=RELATION, about="the same of those in --test-dir", auto="found there", identity=False, min_length=1
    )
    wording: Text = setting(
        "exact",
        group=RELATION,
        about="which texts count as one of the ten relations",
        allowed="exact, synonyms, PATH of a .csv (text,relation)",
        identity=False,
        min_length=1,
    )
    box_features: Literal["seed", "published", "rich"] = setting(
        "seed",
        group=RELATION,
        about="numbers of the two boxes: 8 of offsets and areas, 12 of published papers, or 45",
        late=True,
    )
    embedding: Int = setting(
        128, group=RELATION, about="width in which pair and relation are compared", ge=1, le=65_536, late=True
    )
    temperature: Float = setting(0.07, group=RELATION, about="divides the cosine of the two", gt=0, le=100, late=True)
    spatial_dropout: Float = setting(
        0.2, group=RELATION, about="dropout of the box numbers' layers", ge=0, lt=1, late=True
    )
    flip: Float = setting(
        0.5,
        group=RELATION,
        about="share of pairs trained on mirrored: picture, boxes, left of and right of",
        ge=0,
        le=1,
        late=True,
    )
    cache_features: Bool = setting(
        True,
        group=RELATION,
        about="compute the features of a backbone that stays frozen once, and keep them",
        identity=False,
    )

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

    label_smoothing: Float = setting(
        group=AUGMENT, about="share of the target spread over all classes", auto=RECIPE, ge=0, lt=1
    )
    mixup: Float = setting(group=AUGMENT, about="alpha of mixup; 0 is off", auto=RECIPE, ge=0, le=10)
    cutmix: Float = setting(group=AUGMENT, about="alpha of cutmix; 0 is off", auto=RECIPE, ge=0, le=10)
    unmixed_epochs: Int = setting(
        0,
        group=AUGMENT,
        about="last epochs of the schedule without mixup and cutmix",
        unit="epochs",
        ge=0,
        le=10_000,
        late=True,
    )
    randaugment: Int = setting(
        group=AUGMENT, about="magnitude of RandAugment (2 operations); 0 is off", auto=RECIPE, ge=0, le=30
    )
    trivialaugment: Bool = setting(
        False,
        group=AUGMENT,
        about="TrivialAugment (wide) in place of RandAugment: one operation, at a strength drawn for each picture",
        late=True,
    )
    random_erasing: Float = setting(
        group=AUGMENT, about="share of pictures with an erased box", auto=RECIPE, ge=0, le=1
    )
    crop_scale: Float = setting(
        0.35,
        group=AUGMENT,
        about="smallest share of a picture's area that a training crop keeps; ImageNet's usual one is 0.08",
        ge=0.01,
        le=1,
        late=True,
    )
    color_jitter: Float = setting(
        0.0,
        group=AUGMENT,
        about="brightness, contrast and saturation times 1 - this to 1 + this, drawn for each picture; 0 is off",
        ge=0,
        le=1,
        late=True,
    )
    augment_backend: Literal["torchvision", "opencv"] = setting(
        "torchvision",
        group=AUGMENT,
        about="library of the augmentation; opencv is several times as fast, and differs by its resizing and rounding",
        late=True,
    )

    class_weights: Literal["none", "balanced", "effective"] = setting(
        "none",
        group=BALANCE,
        about="loss weights; balanced is N/(C n_c), effective counts overlapping pictures once (--effective-beta)",
    )
    effective_beta: Float = setting(
        0.999,
        group=BALANCE,
        about="effective weights: 0 weighs all classes alike, near 1 is balanced",
        ge=0,
        lt=1,
        late=True,
    )
    focal_gamma: Float = setting(
        0.0, group=BALANCE, about="focal loss: how little easy pictures count; 0 is off", ge=0, le=10, late=True
    )
    logit_adjustment: Float = setting(
        0.0,
        group=BALANCE,
        about="times the log share of each class, added to its logit in the loss; 0 is off",
        ge=0,
        le=10,
        late=True,
    )
    oversample: str = setting(
        "none",
        group=BALANCE,
        about='repeat rare classes: "100:3,500:2" is x3 below 100 training pictures, x2 below 500',
        allowed='none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2"',
        pattern=r"^(none|[1-9]\d*:([1-9]\d?|100)(,[1-9]\d*:([1-9]\d?|100))*)$",
    )

    monitor: Literal["val_accuracy", "val_macro_f1", "val_mean_recall", "val_loss"] = setting(
        "val_accuracy", group=STOPPING, about="what decides the best epoch and early stopping"
    )
    patience: Int = setting(
        10, group=STOPPING, about="stop after this many epochs without a better one; 0 never stops", ge=0, le=10_000
    )
    min_epochs: Int = setting(
        0, group=STOPPING, about="never stop early before this epoch", unit="epochs", ge=0, le=10_000
    )
    stop_epoch: Annotated[Int | None, BeforeValidator(parse_none)] = setting(
        None, group=STOPPING, about="end after this epoch of the schedule", unit="epochs", auto="none", ge=1, le=10_000
    )
    max_minutes: Float = setting(
        0.0,
        group=STOPPING,
        about="shorten the schedule to the steps that fit into so many minutes, by measured speed; 0 is off",
        unit="minutes",
        ge=0,
        le=100_000,
        late=True,
    )
    fitted_steps: str = setting(
        "none",
        group=STOPPING,
        about="repeat a run of --max-minutes: the length in steps that it has recorded, in place of a limit",
        allowed='none or "STEPS,STEPS@STEP,...", for example "412,405@92"',
        late=True,
        pattern=r"^(none|[1-9]\d{0,8}(,[1-9]\d{0,8}@[1-9]\d{0,8})*)$",
    )

    seed: Int = setting(
        11, group=RUN, about="seed of initialisation, order, augmentation, dropout", ge=0, le=2**31, identity=False
    )
    output_dir: Text | None = setting(
        None, group=RUN, about="folder of the run", auto="<runs root>/<model>-<config>-s<seed>", identity=False
    )
    runs_root: Text = setting(
        "runs",
        group=RUN,
        about="folder of all runs; on a disk that several hosts share, a run goes on on any of them",
        identity=False,
        min_length=1,
    )
    resume: Literal["last", "never"] = setting(
        "last",
        group=RUN,
        about="an unfinished run of the same settings in the output folder: go on from the last checkpoint, or never",
        identity=False,
    )
    checkpoint_every_steps: Int = setting(
        0,
        group=RUN,
        about="checkpoints within an epoch, besides the one after each; 0 is off",
        unit="steps",
        ge=0,
        le=10**9,
        identity=False,
    )
    checkpoint_every_minutes: Float = setting(
        0.0, group=RUN, about="the same by time; 0 is off", unit="minutes", ge=0, le=10_000, identity=False
    )
    keep_checkpoints: Int = setting(
        2, group=RUN, about="how many checkpoints stay while the run lasts", ge=1, le=1000, identity=False
    )
    keep_epochs: Int = setting(
        0,
        group=RUN,
        about="weights of the last epochs that stay in epochs/, for flowerml combine",
        unit="epochs",
        ge=0,
        le=1000,
        identity=False,
    )
    lease_seconds: Int = setting(
        60,
        group=RUN,
        about="a run that gives no sign of life for so long may be taken over by another process",
        unit="seconds",
        ge=1,
        le=86_400,
        identity=False,
    )
    on_launcher_death: Literal["stop", "finish"] = setting(
        "stop",
        group=RUN,
        about="when the `mlflow run` that started it dies: stop with a checkpoint, or finish",
        identity=False,
    )
    overwrite: Bool = setting(False, group=RUN, about="replace what stands in the output folder", identity=False)
    experiment: Text | None = setting(  # as long as a server's database takes it; so is the name of a run
        None,
        group=RUN,
        about="MLflow experiment",
        auto="MLFLOW_EXPERIMENT_NAME, or the task's own",
        allowed="text, up to 256 characters",
        identity=False,
        max_length=256,
    )
    run_name: Text | None = setting(
        None,
        group=RUN,
        about="name in the MLflow UI",
        auto="the output folder's",
        allowed="text, up to 250 characters",
        identity=False,
        max_length=250,
    )
    workers: Int | None = setting(
        None,
        group=RUN,
        about="processes that load pictures; 0 loads in the training's own",
        auto="by cores",
        ge=0,
        le=256,
        identity=False,
    )
    cache_images: Literal["off", "ram", "disk", "auto"] = setting(
        "off",
        group=RUN,
        about="decode each picture once, and keep it with its short edge at 1.7 times --img-size (1 / the root of"
        " --crop-scale); auto takes what fits",
        late=True,
        alike=("ram", "disk", "auto"),
    )
    cache_images_gb: Float = setting(
        0.0,
        group=RUN,
        about="memory or disk for these pictures; 0 is half of what is free",
        unit="GB",
        ge=0,
        le=100_000,
        identity=False,
    )
    device: str | None = setting(
        None,
        group=RUN,
        about="where to compute",
        auto="the best there is",
        allowed="cpu, cuda, cuda:N, mps",
        identity=False,
        pattern=r"^(cpu|mps|cuda(:\d+)?)$",
    )
    gpus: Int = setting(
        1,
        group=RUN,
        about="processes that train together, each on a GPU of its own with its share of every batch",
        ge=1,
        le=1024,
        identity=False,
    )
    compile: Bool | None = setting(
        None,
        group=RUN,
        about="torch.compile the model",
        auto="on a GPU, after an epoch that shows that the rest is long enough",
        identity=False,
    )
    grad_checkpointing: Bool = setting(
        False,
        group=RUN,
        about="keep fewer activations and compute them again: less memory, one more forward pass a step, same result",
        identity=False,
    )

    def replace(self, **changes: Any) -> "Settings":  # noqa: ANN401 - values of the fields' types
        """A validated copy with some settings changed."""
        return Settings.model_validate({**self.model_dump(), **changes})


def fields() -> Mapping[str, FieldInfo]:
    """Every setting's declaration by name, in the order of the declaration."""
    return Settings.model_fields
