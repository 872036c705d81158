"""The datasets of a run, as MLflow shows them: what was trained on, held out, and tested on."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowerml.data.loader import Example
from flowerml.events import DatasetInput
from flowerml.runs.prepare import Prepared
from flowerml.settings.addresses import is_remote


def dataset_inputs(run: Prepared, test_examples: Sequence[Example]) -> Iterator[DatasetInput]:
    """The inputs of a run, each with its number of examples, in all and of each class.

    The digest of "train" is that of the whole data folder, that of "validation" tells which part of it was held out.
    """
    classes, folder = run.data.classes, _source(run.settings.train_dir)
    yield DatasetInput("train", run.digests.data, folder, "training", _profile(run.data.train, classes))
    if run.data.val:
        held_out = _profile(run.data.val, classes)
        yield DatasetInput("validation", run.shared_split_digest, folder, "validation", held_out)
    if test_examples:
        source = _source(run.settings.test_dir or "")
        yield DatasetInput("test", _digest(test_examples), source, "test", _profile(test_examples, classes))


def _source(path: str) -> str:
    """A path that is the same in every folder, or an address."""
    return path if is_remote(path) else str(Path(path).resolve())


def _profile(examples: Sequence[Example], classes: Sequence[str]) -> str:
    counts = Counter(example.label for example in examples)
    return json.dumps({"num_rows": len(examples), "classes": {name: counts[at] for at, name in enumerate(classes)}})


def _digest(examples: Sequence[Example]) -> str:
    """sha256 (hex) over name, label and, where it is known, content of every example."""
    lines = sorted(f"{example.id}\t{example.label}\t{example.sha256 or ''}" for example in examples)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
