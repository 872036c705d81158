"""flowerml: from a folder of images to registered, multi-seed-confirmed image classifiers in MLflow.

The names of the delivery contract are offered here; they are loaded on first use, so that `import flowerml` (and with
it `flowerml --help`) costs no torch import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowerml.prediction import (
        load_cnn_model,
        load_ensemble,
        load_relation_model,
        load_vit_model,
        predict,
        predict_proba,
        predict_relation,
        predict_set,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "load_cnn_model",
    "load_ensemble",
    "load_relation_model",
    "load_vit_model",
    "predict",
    "predict_proba",
    "predict_relation",
    "predict_set",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes have every type
    if name in __all__:
        import importlib

        module = importlib.import_module("flowerml.prediction")
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'flowerml' has no attribute {name!r}")
