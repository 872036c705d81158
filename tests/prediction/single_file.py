"""The generated `flowers_classifier.py` and `relations_classifier.py`, imported as their users do."""

import importlib.util
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

from flowerml.prediction.delivered import CLASSIFIER, served_code


@cache
def load_single_file() -> ModuleType:
    """`flowers_classifier.py` without digests, as a module."""
    return _import_from(_write_code(), Path(CLASSIFIER).stem)


@cache
def load_relations_file() -> ModuleType:
    """`relations_classifier.py`, as a module."""
    load_single_file()  # it imports that one by its name
    return _import_from(_write_code(), "relations_classifier")


@cache
def _write_code() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="flowerml-single-file-"))
    for name, source in served_code("relation", {}).items():
        (folder / name).write_text(source, "utf-8")
    return folder


def _import_from(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
