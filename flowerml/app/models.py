"""The models that the page asks: any number of classifiers and of models of relations, by the names that it shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.prediction import FlowersClassifier, RelationPredictor, as_predictor
from flowerml.prediction.relations import as_relation_predictor
from flowerml.settings import Family
from flowerml.training.checkpoints.checkpoint import load_checkpoint


@dataclass(frozen=True)
class AppModels:
    """Loaded models in the order in which they were named."""

    classifiers: Mapping[str, FlowersClassifier]
    relations: Mapping[str, RelationPredictor]


def load_models(weights: Mapping[str, Path], device: str) -> AppModels:
    """Load delivered files or a run's `best.pth`, by the names to show.

    Raises:
        UserError: a missing, damaged or foreign file, or weights that do not fit the architecture named in it.
    """
    classifiers, relations = {}, {}
    for name, path in weights.items():
        checkpoint = load_checkpoint(path)
        if checkpoint.spec.family is Family.RELATION:
            relations[name] = as_relation_predictor(checkpoint, device, str(path))
        else:
            classifiers[name] = as_predictor(checkpoint, device, str(path))
    return AppModels(classifiers, relations)


def shown_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Weights files by a name for people: the file's, of a run's `best.pth` the folder's; the path where two are alike.

    A file that is named twice is there once.
    """
    short = {path: path.resolve().parent.name if path.name == "best.pth" else path.name for path in paths}
    counts = Counter(short.values())
    return {name if counts[name] == 1 else str(path): path for path, name in short.items()}
