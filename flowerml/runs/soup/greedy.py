"""A greedy soup: the average of the weights of runs of one model, each added while held-out accuracy does not fall.

The rule is that of Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time" (ICML 2022, arXiv 2203.05482). The average costs at prediction what one model costs.
It is chosen on one half of the validation pictures and judged on the other, which no choice here has seen.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowerml.data.halves import split_halves
from flowerml.data.inputs import Inputs
from flowerml.data.loader import Example, Loader, Transform, evaluation_loader, training_loader
from flowerml.errors import UserError, one_line
from flowerml.evaluation.metrics import Predictions, Scores, compute_metrics
from flowerml.evaluation.predict import predict_all
from flowerml.events import Artifact, Metrics, Recorder, Tags
from flowerml.files import check_writable, require_empty_dir, write_json
from flowerml.models.builders import set_channels_last
from flowerml.models.weights.average import average_states, batch_norms, estimate_batch_norm, statistics_differ
from flowerml.optional_files import try_to_make
from flowerml.prediction import as_network
from flowerml.progress_bar import track
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.outputs.artifacts import write_evaluation, write_probe
from flowerml.runs.outputs.calibrate import calibrate
from flowerml.runs.soup.ingredients import Ingredient, read_ingredients
from flowerml.selection.intervals import Interval, bootstrap_intervals
from flowerml.tasks import task_for
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from flowerml.training.device import default_workers, use_device

logger = logging.getLogger(__name__)

FORMAT = "flowerml-combine-1"
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
class Tried:
    """An ingredient, its accuracy on the choosing half (0..1), and whether the soup has it."""

    ingredient: Ingredient
    accuracy: float
    taken: bool


@dataclass(frozen=True)
class Soup:
    """What came of it. `tried` is in the order of adding, so the first is the best ingredient; accuracies are in 0..1.

    `choosing` is the soup's accuracy on the choosing half of `n_choosing` pictures; `judged_best` and `judged` are
    those of the best ingredient and of the soup on the judging half of `n_judging`, `interval` is the 95 % interval of
    their difference over pictures. `scores` are of all validation pictures.
    """

    folder: Path
    seed: int
    tried: tuple[Tried, ...]
    choosing: float
    n_choosing: int
    judged_best: float
    judged: float
    interval: Interval
    n_judging: int
    scores: Scores

    @property
    def gain(self) -> float:
        """Accuracy of the soup minus that of the best ingredient on the judging half, in -1..1."""
        return self.judged - self.judged_best

    @property
    def shown(self) -> bool:
        """Whether the interval of the gain leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0

    @property
    def epoch(self) -> int:
        """The epoch (1-based) that the best ingredient's weights are of."""
        return self.tried[0].ingredient.checkpoint.epoch

    def as_metrics(self) -> dict[str, float]:
        """What the average brought, as MLflow metrics."""
        return {
            "ingredients": len(self.tried),
            "ingredients_taken": sum(one.taken for one in self.tried),
            "gain": self.gain,
            "gain_low": self.interval.low,
            "gain_high": self.interval.high,
            "judged_accuracy": self.judged,
            "judged_accuracy_of_best_run": self.judged_best,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `combine.json`."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "ingredients": [
                {
                    "path": str(one.ingredient.path),
                    "sha256": one.ingredient.sha256,
                    "choosing_accuracy": one.accuracy,
                    "taken": one.taken,
                }
                for one in self.tried
            ],
            "choosing": {"pictures": self.n_choosing, "soup_accuracy": self.choosing},
            "judging": {
                "pictures": self.n_judging,
                "best_single_accuracy": self.judged_best,
                "soup_accuracy": self.judged,
                "gain": self.gain,
                "interval_95": self.interval.as_json(),
                "shown": self.shown,
            },
            "validation": self.scores.as_json(),
        }


@dataclass(frozen=True)
class _Candidate:
    """Weights, their predictions of all validation pictures, and what decides between them on the choosing half."""

    checkpoint: Checkpoint
    predictions: Predictions
    chosen: Scores

    @property
    def rank(self) -> tuple[int, float]:
        return self.chosen.hits, -self.chosen.loss


class _Evaluator:
    """The pictures and what is computed on them: predictions, and BatchNorm statistics of averages.

    Predictions are computed as `flowerml eval` computes them: fp32, batches of the checkpoint's own size.
    """

    def __init__(self, request: Request, first: Ingredient) -> None:
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

    def evaluate(self, checkpoint: Checkpoint, name: str, *, estimate: bool = False) -> _Candidate:
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
        loader = self._validation(size)
        batches = track(loader.epoch(1), f"evaluating {name}", total=len(loader))
        predictions = predict_all(network, batches, checkpoint.classes, self.device, memory_format)
        return _Candidate(checkpoint, predictions, compute_metrics(predictions.part(self.choosing)))

    def _validation(self, size: int) -> Loader:
        if size not in self._loaders:
            self._loaders[size] = evaluation_loader(self.val, self.transform, batch_size=size, workers=self._workers)
        return self._loaders[size]

    def _training_inputs(self, size: int) -> Iterator[Inputs]:
        """Batches of the training pictures as for evaluation, shuffled: in order, a batch would be of one class."""
        examples: Sequence[Example] = self.train if len(self.train) > 1 else self.train * 2  # BatchNorm needs two
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


def combine_runs(request: Request) -> Soup:
    """`make_soup` into a new or empty folder. Raises UserError where it is not empty, and as `make_soup`."""
    require_empty_dir("--output-dir", request.output_dir)
    return make_soup(request)


def make_soup(request: Request) -> Soup:
    """Combine the runs and write `FILES`: `best.pth` with a calibration of its own, the evaluation, `combine.json`.

    Sorted by accuracy on the choosing half (ties: the lower loss), each run joins the average if accuracy, then loss,
    of the new average is there no worse than before: so the result is never worse there than the best run.

    Raises:
        UserError: runs that can't be averaged, or pictures that are gone.
    """
    ingredients = read_ingredients(request.runs, skip_others=request.skip_others)
    check_writable(request.output_dir / "best.pth")  # makes the folder: after the checks, before the work
    evaluator = _Evaluator(request, ingredients[0])
    logger.info(
        f"{len(ingredients)} runs of {ingredients[0].checkpoint.spec.name} on {evaluator.device}:"
        f" {len(evaluator.choosing)} validation pictures to choose by, {len(evaluator.judging)} to judge by"
    )
    singles = [
        (ingredient, evaluator.evaluate(ingredient.checkpoint, str(ingredient.path))) for ingredient in ingredients
    ]
    singles.sort(key=lambda one: one[1].rank, reverse=True)  # stable: equal ones stay in the order they were named
    best = soup = singles[0][1]
    taken = [singles[0][0]]
    tried = [Tried(singles[0][0], best.chosen.accuracy, taken=True)]
    for ingredient, single in singles[1:]:
        states = [one.checkpoint.state_dict for one in (*taken, ingredient)]
        average = replace(best.checkpoint, state_dict=average_states(states))
        candidate = evaluator.evaluate(average, f"the average of {len(states)}", estimate=statistics_differ(states))
        joins = candidate.rank >= soup.rank
        if joins:
            soup = candidate
            taken.append(ingredient)
        tried.append(Tried(ingredient, single.chosen.accuracy, joins))
        logger.info(
            f"{'with' if joins else 'not'} {ingredient.path}: the average of {len(states)} has"
            f" {candidate.chosen.accuracy:.4f} on the choosing half"
        )
    result = _judge(request, evaluator, tuple(tried), best, soup)
    _write(request.output_dir, evaluator, soup, result)
    return result


def _judge(
    request: Request, evaluator: _Evaluator, tried: tuple[Tried, ...], best: _Candidate, soup: _Candidate
) -> Soup:
    first, second = (one.predictions.part(evaluator.judging) for one in (best, soup))
    right = {"best": first.predicted == first.labels, "soup": second.predicted == second.labels}
    pair = bootstrap_intervals({name: row[None] for name, row in right.items()}, ("soup", "best"))
    assert pair.difference is not None
    return Soup(
        folder=request.output_dir,
        seed=request.seed,
        tried=tried,
        choosing=soup.chosen.accuracy,
        n_choosing=len(evaluator.choosing),
        judged_best=float(right["best"].mean()),
        judged=float(right["soup"].mean()),
        interval=pair.difference,
        n_judging=len(evaluator.judging),
        scores=compute_metrics(soup.predictions),
    )


def _write(folder: Path, evaluator: _Evaluator, soup: _Candidate, result: Soup) -> None:
    metrics = result.scores.as_epoch_result(soup.checkpoint.epoch).as_metrics()
    save_checkpoint(folder / "best.pth", replace(soup.checkpoint, metrics=metrics, calibration=None))
    try_to_make("calibration", lambda: calibrate(folder / "best.pth", soup.predictions))
    title = f"average of {sum(one.taken for one in result.tried)}, validation"
    write_evaluation(folder, title, soup.predictions, result.scores, evaluator.task, evaluator.val)
    write_probe(folder, evaluator.val, evaluator.transform)
    write_json(folder / "combine.json", result.as_json())


def record_soup(soup: Soup, open_run: Callable[[str, str], Recorder]) -> str:
    """Record the soup with its files in an MLflow run; returns its id. `open_run` takes an experiment and a name.

    Raises:
        UserError: the tracking server can't be reached.
    """
    first = soup.tried[0].ingredient
    spec, settings = first.checkpoint.spec, first.settings
    taken = [one.ingredient.path.parent for one in soup.tried if one.taken]
    recorder = open_run(settings.experiment or task_for(spec).name, f"combine {len(soup.tried)} runs of {spec.name}")
    with finalize_status(recorder):
        tags = {
            "flowerml.family": str(spec.family),
            "flowerml.model": spec.name,
            "flowerml.split_digest": str((first.checkpoint.split or {}).get("digest", "")),
            "flowerml.combined_runs": ",".join(run_id_of(folder) or str(folder) for folder in taken),
        }
        recorder.record(Tags({name: text for name, text in tags.items() if text}))
        recorder.record(
            Metrics(
                {
                    **soup.as_metrics(),
                    "best_val_accuracy": soup.scores.accuracy,
                    "best_val_macro_f1": soup.scores.macro_f1,
                    "best_val_mean_recall": soup.scores.mean_recall,
                }
            )
        )
        for name in FILES:
            if (soup.folder / name).is_file():
                recorder.record(Artifact(soup.folder / name))
    return recorder.run_id


def format_soup(soup: Soup) -> str:
    """A table of the ingredients and a line with the gain, for a terminal."""
    names = [one_line(str(one.ingredient.path)) for one in soup.tried]
    width = max(map(len, (*names, "ingredient")))
    rows = [
        f"{name:<{width}}  {one.accuracy:13.4f}  {'yes' if one.taken else 'no'}"
        for name, one in zip(names, soup.tried, strict=True)
    ]
    taken, low, high = sum(one.taken for one in soup.tried), soup.interval.low, soup.interval.high
    header = f"{'ingredient':<{width}}  choosing half  taken"
    if taken == 1:
        words = f"no average is better on the choosing half: {soup.folder / 'best.pth'} is the best ingredient itself"
        return "\n".join([header, *rows, "", words])
    return "\n".join(
        [
            header,
            *rows,
            "",
            f"soup of {taken}: gain {soup.gain:+.4f} in accuracy over the best ingredient ({soup.judged_best:.4f} ->"
            f" {soup.judged:.4f} on the judging half of {soup.n_judging} pictures; 95 % interval {low:+.4f} to"
            f" {high:+.4f}{'' if soup.shown else ': not shown'})",
        ]
    )
