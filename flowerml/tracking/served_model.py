"""A delivered weights file as a real MLflow model: a loader module and a data file, so that nothing in it is ever unpickled.

Its only code is `flowers_classifier.py`; its requirements are that file's and MLflow's own, pinned to what is installed here.
"""

import base64
import io
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from PIL import Image

from flowerml.prediction.delivered import CLASSIFIER, single_file
from flowerml.training.checkpoint import Checkpoint

_NEEDED = ("mlflow", "torch", "torchvision", "numpy", "pandas", "pillow")
_LIBRARIES = {"timm": "timm", "open_clip": "open_clip_torch"}


def save_served_model(folder: Path, weights: Path, digest: str, checkpoint: Checkpoint, run_id: str, model_id: str) -> None:
    """Write the MLflow model of `weights` (whose content is `checkpoint`, whose sha256 is `digest`) into the new folder `folder`.

    `run_id` is the training's run, `model_id` MLflow's logged model that the folder is uploaded to.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    code = folder.parent / CLASSIFIER
    code.write_text(single_file({weights.name: digest}), "utf-8")
    signature = _signature(checkpoint.classes)
    mlflow.pyfunc.save_model(
        path=str(folder),
        loader_module=code.stem,
        data_path=str(weights),
        code_paths=[str(code)],
        mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id, signature=signature),
        pip_requirements=requirements(checkpoint),
        signature=signature,
        input_example=_example(checkpoint.description.size),
    )


def requirements(checkpoint: Checkpoint) -> list[str]:
    """Pinned requirements of a checkpoint's model, without the local part of a version (`+cpu`), which no registry has."""
    packages = [*_NEEDED, _LIBRARIES[str(checkpoint.spec.library)]]
    return [f"{package}=={version(package).partition('+')[0]}" for package in packages]


def _signature(classes: tuple[str, ...]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - MLflow's ModelSignature, imported late
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Object, Property

    shares = Object([Property(name, DataType.double) for name in classes])
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(shares, "probabilities")]),
    )


def _example(size: int) -> pd.DataFrame:
    """One request: a plain square in base64. It shows the form; what the model sees in it means nothing."""
    picture = io.BytesIO()
    Image.new("RGB", (size, size), (200, 60, 90)).save(picture, "JPEG")
    return pd.DataFrame({"image": [base64.b64encode(picture.getvalue()).decode("ascii")]})
