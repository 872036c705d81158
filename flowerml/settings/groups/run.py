"""The run itself: seed, folder, checkpoints, lease, MLflow names, workers, caches, devices."""

from typing import Literal

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import RUN, setting
from flowerml.settings.values import Bool, Float, Int, Text


class RunSettings(SettingsGroup):
    """The group `the run itself` of `Settings`."""

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
