"""A greedy soup: the average of the weights of runs of one model, each added while held-out accuracy does not fall.

The rule is that of Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time" (ICML 2022, arXiv 2203.05482). The average costs at prediction what one model costs.
It is chosen on one half of the validation pictures and judged on the other, which no choice here has seen.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowerml.errors import one_line
from flowerml.evaluation.metrics import Scores, compute_metrics
from flowerml.evaluation.paired_gain import PairedGain
from flowerml.files import check_writable, require_empty_dir
from flowerml.models.weights.average import average_states, statistics_differ
from flowerml.runs.soup.evaluator import Evaluator, Request, judged_metrics
from flowerml.runs.soup.ingredients import Ingredient, read_ingredients

logger = logging.getLogger(__name__)

FORMAT = "flowerml-combine-1"


@dataclass(frozen=True)
class Tried:
    """An ingredient, its accuracy on the choosing half (0..1), and whether the soup has it."""

    ingredient: Ingredient
    accuracy: float
    taken: bool


@dataclass(frozen=True)
class Soup:
    """What came of it. `tried` is in the order of adding, so the first is the best ingredient; accuracies are in 0..1.

    `choosing` is the soup's accuracy on the choosing half of `n_choosing` pictures; `judged` compares it with the best
    ingredient. `scores` are of all validation pictures.
    """

    folder: Path
    seed: int
    tried: tuple[Tried, ...]
    choosing: float
    n_choosing: int
    judged: PairedGain
    scores: Scores

    @property
    def first(self) -> Ingredient:
        """The best ingredient."""
        return self.tried[0].ingredient

    @property
    def combined(self) -> tuple[Path, ...]:
        """The files of the weights in it."""
        return tuple(one.ingredient.path for one in self.tried if one.taken)

    @property
    def epoch(self) -> int:
        """The epoch (1-based) that the best ingredient's weights are of."""
        return self.first.checkpoint.epoch

    def as_metrics(self) -> dict[str, float]:
        """What the average brought, as MLflow metrics."""
        return {
            "ingredients": len(self.tried),
            "ingredients_taken": sum(one.taken for one in self.tried),
            **judged_metrics(self.judged),
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
                "pictures": self.judged.pictures,
                "best_single_accuracy": self.judged.before,
                "soup_accuracy": self.judged.after,
                "gain": self.judged.gain,
                "interval_95": self.judged.interval.as_json(),
                "shown": self.judged.shown,
            },
            "validation": self.scores.as_json(),
        }


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
    ingredients = read_ingredients(request.runs, skip_others=request.skip_others, epochs=True)
    check_writable(request.output_dir / "best.pth")  # makes the folder: after the checks, before the work
    # Linear probes from one start have one backbone, and so has their average.
    frozen = all(ingredient.settings.probe for ingredient in ingredients)
    evaluator = Evaluator(request, ingredients[0], frozen=frozen)
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
    result = Soup(
        folder=request.output_dir,
        seed=request.seed,
        tried=tuple(tried),
        choosing=soup.chosen.accuracy,
        n_choosing=len(evaluator.choosing),
        judged=evaluator.judge(best, soup),
        scores=compute_metrics(soup.predictions),
    )
    evaluator.write(request.output_dir, soup, f"average of {len(taken)}, validation", result.as_json())
    return result


def format_soup(soup: Soup) -> str:
    """A table of the ingredients and a line with the gain, for a terminal."""
    names = [one_line(str(one.ingredient.path)) for one in soup.tried]
    width = max(map(len, (*names, "ingredient")))
    rows = [
        f"{name:<{width}}  {one.accuracy:13.4f}  {'yes' if one.taken else 'no'}"
        for name, one in zip(names, soup.tried, strict=True)
    ]
    header = f"{'ingredient':<{width}}  choosing half  taken"
    if len(soup.tried) == 1:
        words = f"nothing to average it with: {soup.folder / 'best.pth'} is that run's"
    elif len(soup.combined) == 1:
        words = f"no average is better on the choosing half: {soup.folder / 'best.pth'} is the best ingredient itself"
    else:
        words = soup.judged.line(f"soup of {len(soup.combined)}", " over the best ingredient", "the judging half of ")
    return "\n".join([header, *rows, "", words])
