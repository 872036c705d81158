"""The tracking table of a campaign, as the user's plan has it: one row per run, as Markdown and as CSV."""

import csv
import io

from flowerml.campaign.report.snapshot import CampaignSnapshot, RunRow
from flowerml.campaign.status import RunStatus

COLUMNS = ("Run ID", "Model", "Seed", "Status", "Val Acc", "Macro-F1", "Checkpoint")
_WORDS = {
    RunStatus.TODO: "TODO",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.INTERRUPTED: "INTERRUPTED",
    RunStatus.FAILED: "FAILED",
    RunStatus.FINISHED: "DONE",
    RunStatus.SKIPPED: "SKIPPED",
}


def cells(run: RunRow) -> list[str]:
    """A run's row. Figures are those of its best epoch; empty where there are none."""
    return [
        run.name,
        run.title,
        str(run.seed),
        _WORDS[run.status],
        "" if run.accuracy is None else f"{run.accuracy:.4f}",
        "" if run.macro_f1 is None else f"{run.macro_f1:.4f}",
        run.checkpoint,
    ]


def as_markdown(campaign: CampaignSnapshot) -> str:
    """The table, with the plan's name above it."""
    lines = [
        list(COLUMNS),
        ["---", "---", "---:", "---", "---:", "---:", "---"],
        *(_shown(run) for run in campaign.runs),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"# {campaign.title}\n\nPlan `{campaign.plan}` ({campaign.plan_digest[:8]}), campaign"
        f" {campaign.status}.\n\n{body}\n"
    )


def _shown(run: RunRow) -> list[str]:
    return [(text or "-").replace("|", "\\|") for text in cells(run)]


def as_csv(campaign: CampaignSnapshot) -> str:
    """The table as CSV, with what a spreadsheet wants besides: phase, configuration, best epoch, seconds, MLflow's run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "Phase", "Configuration", "Best epoch", "Seconds", "MLflow run"])
    for run in campaign.runs:
        best = "" if run.best_epoch is None else str(run.best_epoch)
        seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
        writer.writerow([*cells(run), run.phase, run.config_id[:8], best, seconds, run.run_id])
    return text.getvalue()
