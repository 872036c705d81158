"""A run in words: the description in the MLflow UI, and the tags it is found by."""

import subprocess
from pathlib import Path

from flowerml.evaluation.scores import Scores
from flowerml.models.cost import multiply_adds
from flowerml.runs.prepare import Prepared
from flowerml.training.outcome import Outcome


def tags(run: Prepared) -> dict[str, str]:
    """The tags by which everything finds this run."""
    return {
        # Without validation there is nothing to rank by: such a run is a final one.
        "flowerml.kind": "train" if run.settings.val_split > 0 else "final",
        "flowerml.family": str(run.spec.family),
        "flowerml.task": run.task.name,
        "flowerml.model": run.settings.model,
        "flowerml.parameters": str(run.built.parameters),
        "flowerml.multiply_adds": str(multiply_adds(run.built.model, run.built.model.blank(run.built.description.size))),
        "flowerml.config_id": run.config_id,
        "flowerml.seed": str(run.settings.seed),
        "flowerml.data_digest": run.digests.data,
        "flowerml.split_digest": run.digests.split,
        "flowerml.classes": ",".join(run.data.classes),
        **_git_tags(),
    }


def closing_tags(outcome: Outcome, scores: Scores | None) -> dict[str, str]:
    """What is known at the end: how it ended, and the best epoch's hits among the validation pictures, which the selection counts."""
    counted = {} if scores is None else {"flowerml.val_hits": str(scores.hits), "flowerml.val_total": str(scores.total)}
    return {"flowerml.ended": outcome.ended, **counted}


def description(run: Prepared, outcome: Outcome, scores: Scores | None, test: Scores | None) -> str:
    """The run as a short Markdown text."""
    settings = run.settings
    lines = [f"**{settings.model}** on {len(run.data.train)} training pictures of {', '.join(run.data.classes)}.", ""]
    if scores is not None and outcome.best is not None:
        low, high = scores.interval
        lines += [
            f"Validation accuracy **{scores.accuracy:.2%}** ({scores.hits} of {scores.total}; 95 % interval {low:.2%} to {high:.2%}), "
            f"macro-F1 **{scores.macro_f1:.4f}**, at epoch {outcome.best.epoch} of {settings.epochs} ({outcome.ended}).",
            "",
            "| class | precision | recall | F1 | pictures |",
            "|---|---:|---:|---:|---:|",
            *(f"| {r['class']} | {r['precision']:.3f} | {r['recall']:.3f} | {r['f1']:.3f} | {r['support']} |" for r in scores.per_class),
        ]
    else:
        lines.append(f"Trained on everything, without validation; {len(outcome.history)} epochs ({outcome.ended}).")
    if test is not None:
        low, high = test.interval
        lines += [
            "",
            f"On the untouched test folder: **{test.accuracy:.2%}** ({test.hits} of {test.total}; {low:.2%} to {high:.2%}).",
        ]
    lines += [
        "",
        f"Configuration `{run.config_id[:8]}`, seed {settings.seed}, split `{run.digests.split[:8]}`, weights {weights_name(run)}.",
        f"Folder `{run.folder}`.",
    ]
    return "\n".join(lines)


def weights_name(run: Prepared) -> str:
    """The starting weights in words."""
    words = {"hub": run.digests.weights, "none": "none (random start)"}
    return words.get(run.settings.weights, f"{Path(run.settings.weights).name} (sha256 {run.digests.weights[:8]})")


def _git_tags() -> dict[str, str]:
    """Commit of the code and whether the tree had changes; nothing where the code is no git checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None:
        return {}
    return {"flowerml.git_commit": commit, "flowerml.git_dirty": "true" if changes else "false"}
