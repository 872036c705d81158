"""Package a weights file as an MLflow pyfunc model: a loader module and a data file, without any pickle.

Its only code is `flowers_classifier.py` (for pairs of boxed objects also `relations_classifier.py`); its requirements
are those of these files and of MLflow, pinned to the installed versions.
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

_PACKAGES = ("mlflow", "torch", "torchvision", "numpy", "pandas", "pillow")
_LIBRARIES = {"timm": "timm", "open_clip": "open_clip_torch"}


def save_served_model(
    folder: Path, weights: Path, digest: str, checkpoint: Checkpoint, run_id: str, model_id: str
) -> None:
    """Write the MLflow model of the file `weights` into the new folder `folder`.

    `checkpoint` is the content of the file, `digest` its sha256; `run_id` is the training run, `model_id` the MLflow
    logged model that the folder will be uploaded to.
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
        input_example=_input_example(checkpoint.description.size, boxes),
    )


def requirements(checkpoint: Checkpoint) -> list[str]:
    """Pinned requirements of a checkpoint's model, without local version parts (`+cpu`), which PyPI does not have."""
    packages = [*_PACKAGES, _LIBRARIES[str(checkpoint.spec.library)]]
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


def _input_example(size: int, boxes: tuple[str, ...]) -> pd.DataFrame:
    """One request that shows the format: a plain image in base64, with both boxes covering all of it."""
    picture = io.BytesIO()
    Image.new("RGB", (size, size), (200, 60, 90)).save(picture, "JPEG")
    edges = {name: [0.0 if name.endswith("0") else float(size)] for name in boxes}
    return pd.DataFrame({"image": [base64.b64encode(picture.getvalue()).decode("ascii")], **edges})
