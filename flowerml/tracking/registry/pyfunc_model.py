"""A delivered weights file as a real MLflow model: a loader module and a data file, so that nothing in it is ever
unpickled.

Its only code is `flowers_classifier.py` (for pairs of boxed objects also `relations_classifier.py`); its requirements
are those files' and MLflow's own, pinned to what is installed here.
"""

import base64
import io
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from PIL import Image

from flowerml.prediction.delivered import served_code
from flowerml.prediction.relations_served import COLUMNS as BOXES
from flowerml.training.checkpoints.checkpoint import Checkpoint

_NEEDED = ("mlflow", "torch", "torchvision", "numpy", "pandas", "pillow")
_LIBRARIES = {"timm": "timm", "open_clip": "open_clip_torch"}


def save_served_model(
    folder: Path, weights: Path, digest: str, checkpoint: Checkpoint, run_id: str, model_id: str
) -> None:
    """Write the MLflow model of `weights` (whose content is `checkpoint`, whose sha256 is `digest`) into the new folder
    `folder`.

    `run_id` is the training's run, `model_id` MLflow's logged model that the folder is uploaded to.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    code = served_code(str(checkpoint.spec.family), {weights.name: digest})
    for name, source in code.items():
        (folder.parent / name).write_text(source, "utf-8")
    boxes = () if len(code) == 1 else BOXES
    signature = _signature(checkpoint.classes, boxes)
    mlflow.pyfunc.save_model(
        path=str(folder),
        loader_module=Path(next(iter(code))).stem,
        data_path=str(weights),
        code_paths=[str(folder.parent / name) for name in code],
        mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id, signature=signature),
        pip_requirements=requirements(checkpoint),
        signature=signature,
        input_example=_example(checkpoint.description.size, boxes),
    )


def requirements(checkpoint: Checkpoint) -> list[str]:
    """Pinned requirements of a checkpoint's model, without the local part of a version (`+cpu`), which no registry has."""
    packages = [*_NEEDED, _LIBRARIES[str(checkpoint.spec.library)]]
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]


def _signature(classes: tuple[str, ...], boxes: tuple[str, ...]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - MLflow's ModelSignature, imported late
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Object, Property

    shares = Object([Property(name, DataType.double) for name in classes])
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image"), *(ColSpec(DataType.double, name) for name in boxes)]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(shares, "probabilities")]),
    )


def _example(size: int, boxes: tuple[str, ...]) -> pd.DataFrame:
    """One request: a plain square in base64, all of it in both boxes. It shows the form; what the model sees in it
    means nothing.
    """
    picture = io.BytesIO()
    Image.new("RGB", (size, size), (200, 60, 90)).save(picture, "JPEG")
    edges = {name: [0.0 if name.endswith("0") else float(size)] for name in boxes}
    return pd.DataFrame({"image": [base64.b64encode(picture.getvalue()).decode("ascii")], **edges})
