"""The tracking table of a campaign, one row per run, as Markdown and as CSV."""

from flowerml.campaign.report.snapshot import CampaignSnapshot, RunRow
from flowerml.campaign.status import RunStatus
from flowerml.text import csv_text
from flowerml.translation import N_, translation

COLUMNS = (N_("Run ID"), N_("Model"), N_("Seed"), N_("Status"), N_("Val Acc"), N_("Macro-F1"), N_("Checkpoint"))
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
    """Format the table, below the plan's title, in the campaign's language."""
    texts = translation(campaign.language)
    rows = [
        [texts.translated(column) for column in COLUMNS],
        ["---", "---", "---:", "---", "---:", "---:", "---"],
        *([(cell or "-").replace("|", "\\|") for cell in tracking_row(run)] for run in campaign.runs),
    ]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    plan = texts.gettext(
        "Plan `{plan}` ({digest}), campaign {status}.",
        plan=campaign.plan,
        digest=campaign.plan_digest[:8],
        status=campaign.status,
    )
    return f"# {texts.translated(campaign.title)}\n\n{plan}\n\n{body}\n"


def tracking_table_csv(campaign: CampaignSnapshot) -> str:
    """Format the table as CSV, with more columns: phase, configuration, best epoch, seconds, MLflow run.

    In English in every language: programs read it.
    """
    rows: list[list[str]] = [[*COLUMNS, "Phase", "Configuration", "Best epoch", "Seconds", "MLflow run"]]
    for run in campaign.runs:
        best = "" if run.best_epoch is None else str(run.best_epoch)
        seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
        rows.append([*tracking_row(run), run.phase, run.config_id[:8], best, seconds, run.run_id])
    return csv_text(rows)
