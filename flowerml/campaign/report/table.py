"""The tracking table of a campaign, one row per run, as Markdown and as CSV."""

import csv
import io

from flowerml.campaign.report.snapshot import CampaignSnapshot, RunRow
from flowerml.campaign.status import RunStatus

COLUMNS = ("Run ID", "Model", "Seed", "Status", "Val Acc", "Macro-F1", "Checkpoint")
_STATUS_LABELS = {
    RunStatus.TODO: "TODO",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.INTERRUPTED: "INTERRUPTED",
    RunStatus.FAILED: "FAILED",
    RunStatus.FINISHED: "DONE",
    RunStatus.SKIPPED: "SKIPPED",
}


def tracking_row(run: RunRow) -> list[str]:
    """The cells of a run in the order of `COLUMNS`; metrics are those of its best epoch, empty where there are none."""
    return [
        run.name,
        run.title,
        str(run.seed),
        _STATUS_LABELS[run.status],
        "" if run.accuracy is None else f"{run.accuracy:.4f}",
        "" if run.macro_f1 is None else f"{run.macro_f1:.4f}",
        run.checkpoint,
    ]


def tracking_table_markdown(campaign: CampaignSnapshot) -> str:
    """Format the table, below the plan's title."""
    rows = [
        list(COLUMNS),
        ["---", "---", "---:", "---", "---:", "---:", "---"],
        *([(cell or "-").replace("|", "\\|") for cell in tracking_row(run)] for run in campaign.runs),
    ]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    plan = f"Plan `{campaign.plan}` ({campaign.plan_digest[:8]}), campaign {campaign.status}."
    return f"# {campaign.title}\n\n{plan}\n\n{body}\n"


def tracking_table_csv(campaign: CampaignSnapshot) -> str:
    """Format the table as CSV, with more columns: phase, configuration, best epoch, seconds, MLflow run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "Phase", "Configuration", "Best epoch", "Seconds", "MLflow run"])
    for run in campaign.runs:
        best = "" if run.best_epoch is None else str(run.best_epoch)
        seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
        writer.writerow([*tracking_row(run), run.phase, run.config_id[:8], best, seconds, run.run_id])
    return text.getvalue()
