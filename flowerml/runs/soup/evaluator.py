"""What weights are combined by: half of the validation pictures to choose with, and the other half to judge the choice.

No choice has seen the judging half, so that the difference there, with its interval, is that of other pictures.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowerml.data.features.loader import feature_evaluation_loader
from flowerml.data.inputs import Inputs
from flowerml.data.loader import Example, Loader, Transform, evaluation_loader, training_loader
from flowerml.data.rng import derive_seed
from flowerml.data.splits.halves import split_halves
from flowerml.data.splits.split import Split
from flowerml.errors import UserError, one_line
from flowerml.evaluation.metrics import Predictions, Scores, compute_metrics
from flowerml.evaluation.paired_gain import PairedGain, paired_gain
from flowerml.evaluation.predict import predict_all
from flowerml.files import write_json
from flowerml.models import BuiltModel, build_for_weights
from flowerml.models.builders import set_channels_last
from flowerml.models.weights.average import batch_norms, estimate_batch_norm
from flowerml.optional_files import try_to_make
from flowerml.prediction import as_network
from flowerml.progress_bar import track
from flowerml.runs.outputs.artifacts import write_evaluation, write_probe
from flowerml.runs.outputs.calibrate import calibrate
from flowerml.runs.outputs.mistake_maps import MistakeExplainer
from flowerml.runs.soup.ingredients import Ingredient
from flowerml.tasks import task_for
from flowerml.tasks.image_features import ImageFeatures
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from flowerml.training.device import default_workers, use_device

logger = logging.getLogger(__name__)

_STATISTICS = 1024  # training pictures that BatchNorm is estimated on: each has a mean of thousands of positions
FILES = (
    *("best.pth", "combine.json", "predictions.csv", "probe.npz", "calibration.json", "calibration.png"),
    *("confusion_matrix.json", "confusion_matrix.png", "per_class.json", "errors.html"),
)


@dataclass(frozen=True)
class Request:
    """What to combine: run folders or best.pth files, and where to. `train_dir` None: the folder trained on.

    `seed` draws the halves of the validation pictures and the order of the pictures that BatchNorm is estimated on.
    `skip_others`: runs that can't be averaged with the first are left out with a warning, not refused.
    """

    runs: tuple[Path, ...]
    output_dir: Path
    train_dir: Path | None = None
    seed: int = 0
    device: str | None = None
    workers: int | None = None
    skip_others: bool = False


@dataclass(frozen=True)
class Candidate:
    """Weights, their predictions of all validation pictures, and what decides between them on the choosing half."""

    checkpoint: Checkpoint
    predictions: Predictions
    chosen: Scores

    @property
    def rank(self) -> tuple[int, float]:
        """Larger is better: hits, then the lower loss."""
        return self.chosen.hits, -self.chosen.loss


class Evaluator:
    """The pictures and what is computed on them: predictions, and BatchNorm statistics of averages.

    Predictions are computed as `flowerml eval` computes them: fp32, batches of the checkpoint's own size. With `frozen`
    all weights to evaluate have the first run's backbone, and its features are computed once (or are there from the
    training, as of linear probes).
    """

    def __init__(self, request: Request, first: Ingredient, *, frozen: bool = False) -> None:
        self.device = use_device(request.device)
        self._seed = request.seed
        self._workers = default_workers(self.device) if request.workers is None else request.workers
        self.task, split = task_for(first.checkpoint.spec), first.checkpoint.parse_split()
        task = self.task
        assert split is not None
        if not split.val:
            raise UserError(
                f"{first.path}: its split has no validation pictures (--val-split {split.val_split:g}), and runs are"
                " combined by those. Name runs trained with --val-split above 0"
            )
        root = request.train_dir or Path(first.settings.train_dir)
        examples, changes = task.examples(root, first.checkpoint.classes, split, first.settings)
        for change in changes:
            logger.warning(one_line(f"{root}: not as it was at training: {change}"))
        keys = (set(split.train), set(split.val))
        self.train, self.val = ([example for example in examples if example.id in side] for side in keys)
        if not self.val or not self.train:
            raise UserError(
                f"{root}: none of the {'training' if self.val else 'validation'} pictures of {first.path} is there:"
                " name the folder it was trained on with --train-dir"
            )
        self.transform: Transform = task.transforms(first.checkpoint.description, first.settings)[1]
        groups = task.near_duplicates(root, first.checkpoint.classes, split, self.val)
        self.choosing, self.judging = split_halves(
            [example.id for example in self.val], [example.label for example in self.val], groups, request.seed
        )
        if not self.choosing or not self.judging:
            raise UserError(
                f"{root}: its {len(self.val)} validation picture(s) can't be split into two halves, as near-duplicates"
                " stay together: train with a larger --val-split or more pictures"
            )
        self._loaders: dict[int, Loader] = {}
        # A changed picture has another digest than the one by which features are kept.
        self._features = self._kept_features(first.checkpoint, split) if frozen and not changes else None

    def _kept_features(self, checkpoint: Checkpoint, split: Split) -> torch.Tensor:
        """Features (N, F) of the validation pictures, by the backbone of a checkpoint."""
        whole = build_for_weights(checkpoint.spec, len(checkpoint.classes), img_size=checkpoint.description.size)
        whole.load_state_dict(dict(checkpoint.state_dict))
        built = BuiltModel(whole, checkpoint.description, [], ())
        features = ImageFeatures(built, checkpoint.spec, self.transform, self.device, self._workers)
        return features([replace(example, sha256=split.sha256[example.id]) for example in self.val])

    def evaluate(self, checkpoint: Checkpoint, name: str, *, estimate: bool = False) -> Candidate:
        """Predict the validation pictures; with `estimate`, BatchNorm statistics are estimated first and kept.

        `name` is what the progress bar calls the weights.
        """
        network = as_network(checkpoint, str(self.device), checkpoint.origin)
        memory_format = set_channels_last(network, checkpoint.spec)
        size = checkpoint.parse_settings().batch_size
        if estimate and batch_norms(network):
            estimate_batch_norm(network, self._training_inputs(size), self.device, memory_format)
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
            checkpoint = replace(checkpoint, state_dict=state)
        if self._features is not None:
            of_features = feature_evaluation_loader(self._features, self.val, batch_size=size)
            head = network.get_submodule("head")
            predictions = predict_all(head, of_features.epoch(1), checkpoint.classes, self.device)
            return Candidate(checkpoint, predictions, compute_metrics(predictions.part(self.choosing)))
        loader = self._validation(size)
        batches = track(loader.epoch(1), f"evaluating {name}", total=len(loader))
        predictions = predict_all(network, batches, checkpoint.classes, self.device, memory_format)
        return Candidate(checkpoint, predictions, compute_metrics(predictions.part(self.choosing)))

    def _validation(self, size: int) -> Loader:
        if size not in self._loaders:
            self._loaders[size] = evaluation_loader(self.val, self.transform, batch_size=size, workers=self._workers)
        return self._loaders[size]

    def _training_inputs(self, size: int) -> Iterator[Inputs]:
        """Batches of training pictures as for evaluation, shuffled: in order, a batch would be of one class."""
        chosen = sorted(self.train, key=lambda example: derive_seed(self._seed, "batch norm", example.id))
        examples: Sequence[Example] = chosen[:_STATISTICS] if len(chosen) > 1 else chosen * 2  # BatchNorm needs two
        loader = training_loader(
            examples,
            self.transform,
            batch_size=max(size, 2),
            workers=self._workers,
            seed=self._seed,
            smallest_batch=2,
        )
        batches = track(loader.epoch(1), "estimating BatchNorm statistics", total=len(loader))
        return (inputs for inputs, _, _ in batches)

    def judge(self, before: Candidate, after: Candidate) -> PairedGain:
        """What `after` is on the judging half, compared with `before`."""
        first, second = (one.predictions.part(self.judging) for one in (before, after))
        return paired_gain(first.predicted == first.labels, second.predicted == second.labels)

    def write(self, folder: Path, candidate: Candidate, title: str, content: Mapping[str, Any]) -> None:
        """Write `FILES`: `best.pth` with a calibration of its own, its evaluation, `combine.json` with `content`.

        Raises:
            UserError: a file can't be written.
        """
        scores = compute_metrics(candidate.predictions)
        metrics = scores.as_epoch_result(candidate.checkpoint.epoch).as_metrics()
        calibrated = try_to_make("calibration", lambda: calibrate(folder, candidate.predictions))
        calibration = None if calibrated is None else calibrated.calibration
        one = candidate.checkpoint
        save_checkpoint(folder / "best.pth", replace(one, metrics=metrics, calibration=calibration))
        network = partial(as_network, one, str(self.device), one.origin)
        explainer = MistakeExplainer(self.task, one.classes, one.description, network)
        write_evaluation(folder, title, candidate.predictions, scores, self.task, self.val, explainer)
        write_probe(folder, self.val, self.transform)
        write_json(folder / "combine.json", content)


def judged_metrics(judged: PairedGain) -> dict[str, float]:
    """What was found on the judging half, as MLflow metrics."""
    return {
        "gain": judged.gain,
        "gain_low": judged.interval.low,
        "gain_high": judged.interval.high,
        "judged_accuracy": judged.after,
        "judged_accuracy_of_best_run": judged.before,
    }
