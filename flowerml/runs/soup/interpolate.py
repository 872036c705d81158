"""The line between the weights of two runs with one start: a linear probe (or another run), and a fine-tuned one.

WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv 2109.01903): a model between the
pretrained weights with a head of their own and the fine-tuned ones is often better on other photos, and no worse on
these. The point is chosen on one half of the validation pictures and judged on the other.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowerml.evaluation.metrics import Scores, compute_metrics
from flowerml.evaluation.paired_gain import PairedGain
from flowerml.files import check_writable, require_empty_dir
from flowerml.models.weights.average import interpolate_states, statistics_differ
from flowerml.runs.soup.evaluator import Evaluator, Request, judged_metrics
from flowerml.runs.soup.ingredients import Ingredient, read_ingredients

logger = logging.getLogger(__name__)

FORMAT = "flowerml-interpolate-1"
ALPHAS = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Interpolation:
    """What came of it. `curve` has each alpha (0: `first`, 1: `tuned`) and its accuracy (0..1) on the choosing half.

    `alpha` is the one that was chosen there; `judged` compares it with `tuned`. `scores` are of all validation
    pictures.
    """

    folder: Path
    seed: int
    first: Ingredient
    tuned: Ingredient
    curve: tuple[tuple[float, float], ...]
    n_choosing: int
    alpha: float
    judged: PairedGain
    scores: Scores

    @property
    def combined(self) -> tuple[Path, ...]:
        """The files of the weights in it."""
        return (self.first.path, self.tuned.path)

    def as_metrics(self) -> dict[str, float]:
        """What the point brought, as MLflow metrics."""
        return {"alpha": self.alpha, **judged_metrics(self.judged)}

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `combine.json`."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "from": {"path": str(self.first.path), "sha256": self.first.sha256},
            "to": {"path": str(self.tuned.path), "sha256": self.tuned.sha256},
            "curve": [{"alpha": alpha, "choosing_accuracy": accuracy} for alpha, accuracy in self.curve],
            "choosing": {"pictures": self.n_choosing, "alpha": self.alpha},
            "judging": {
                "pictures": self.judged.pictures,
                "fine_tuned_accuracy": self.judged.before,
                "accuracy": self.judged.after,
                "gain": self.judged.gain,
                "interval_95": self.judged.interval.as_json(),
                "shown": self.judged.shown,
            },
            "validation": self.scores.as_json(),
        }


def interpolate_runs(request: Request) -> Interpolation:
    """Evaluate 11 points between the two runs of the request, and write the best one's `FILES` to its folder.

    The best one is that with the most hits on the choosing half, then the lower loss: never worse there than both runs.

    Raises:
        UserError: the output folder is not empty, runs whose weights have no line between them, or pictures that are
            gone.
    """
    require_empty_dir("--output-dir", request.output_dir)
    first, tuned = read_ingredients(request.runs)
    check_writable(request.output_dir / "best.pth")  # makes the folder: after the checks, before the work
    evaluator = Evaluator(request, first)
    logger.info(
        f"{len(ALPHAS)} points between {first.path} and {tuned.path} on {evaluator.device}:"
        f" {len(evaluator.choosing)} validation pictures to choose by, {len(evaluator.judging)} to judge by"
    )
    ends = (first.checkpoint.state_dict, tuned.checkpoint.state_dict)
    curve, best, last = [], None, None
    for alpha in ALPHAS:
        between = 0 < alpha < 1
        point = replace(tuned.checkpoint if alpha else first.checkpoint, state_dict=interpolate_states(*ends, alpha))
        last = evaluator.evaluate(point, f"alpha {alpha:g}", estimate=between and statistics_differ(ends))
        curve.append((alpha, last.chosen.accuracy))
        if best is None or last.rank >= best[1].rank:
            best = alpha, last
    assert best is not None
    assert last is not None
    chosen, candidate = best
    made = Interpolation(
        folder=request.output_dir,
        seed=request.seed,
        first=first,
        tuned=tuned,
        curve=tuple(curve),
        n_choosing=len(evaluator.choosing),
        alpha=chosen,
        judged=evaluator.judge(last, candidate),
        scores=compute_metrics(candidate.predictions),
    )
    evaluator.write(request.output_dir, candidate, f"alpha {chosen:g} between two runs, validation", made.as_json())
    return made


def format_interpolation(made: Interpolation) -> str:
    """The curve as a table, and a line with the gain, for a terminal."""
    rows = [
        f"{alpha:5.1f}  {accuracy:13.4f}{'  chosen' if alpha == made.alpha else ''}" for alpha, accuracy in made.curve
    ]
    if made.alpha == 1:
        words = f"no point is better on the choosing half: {made.folder / 'best.pth'} is the fine-tuned run itself"
    else:
        words = made.judged.line(f"alpha {made.alpha:g}", " over alpha 1", "the judging half of ")
    return "\n".join(["alpha  choosing half", *rows, "", words])
