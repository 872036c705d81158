"""A comparison in words: names of metrics, formatted numbers, and the sentences that come first."""

from flowerml.campaign.comparison.predictions import SHARES, PredictedRange, RangeVerdict
from flowerml.campaign.comparison.statistics import MIN_EXAMPLES, CampaignComparison, Estimate, MetricRow

METRIC_NAMES = {
    "accuracy": "validation accuracy",
    "mean_recall": "mean recall",
    "mean_recall_often": f"mean recall over classes of at least {MIN_EXAMPLES} examples",
    "final_val_accuracy": "validation accuracy after the last epoch",
    "final_val_loss": "validation loss after the last epoch",
    "best_epoch": "best epoch",
    "epochs": "epochs until the end",
    "minutes_per_epoch": "minutes per epoch, with the run's start and end",
    "gap_accuracy": "gap of accuracy, training minus validation",
    "gap_mean_recall": "gap of mean recall, training minus validation",
    "gap_loss": "gap of loss, training minus validation",
}
_PERCENT_METRICS = (*SHARES, "mean_recall_often", "gap_accuracy", "gap_mean_recall")
_DIGITS = {"final_val_loss": 3, "gap_loss": 3, "best_epoch": 1, "epochs": 1, "minutes_per_epoch": 2}
READING_NOTE = (
    "An example counts by the share of seeds that were right about it. Intervals are 95 %: of accuracy and of a class's"
    " recall Wilson's at its number of examples; of mean recall and of differences a bootstrap over pictures, each with"
    " all its examples, the same ones for both. What another seed would change is in none of them; values by seed stand"
    " beside. These examples also chose the best epochs. Of twenty differences without a cause, one is shown all the"
    " same."
)


def metric_name(row: MetricRow) -> str:
    """The metric as people call it."""
    return f"recall of {row.class_name}" if row.metric == "recall" else METRIC_NAMES[row.metric]


def format_value(metric: str, value: float, *, signed: bool = False, unit: bool = True) -> str:
    """Format a value of a metric: shares in percent."""
    is_share = metric in _PERCENT_METRICS
    digits = 1 if is_share else _DIGITS[metric]
    rounded = round(100 * value if is_share else value, digits) + 0.0  # -0.0 becomes 0.0
    text = format(rounded, f"{'+' if signed else ''}.{digits}f")
    return f"{text} %" if is_share and unit else text


def format_estimate(row: MetricRow, estimate: Estimate) -> str:
    """Format a value with its interval."""
    value = format_value(row.metric, estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (format_value(row.metric, end, unit=False) for end in (estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def format_by_seed(row: MetricRow, estimate: Estimate) -> str:
    """Format the values by seed."""
    return ", ".join(format_value(row.metric, value, unit=False) for value in estimate.by_seed)


def format_difference(row: MetricRow) -> str:
    """Format second minus first with its interval: in points for shares."""
    value, interval = format_signed(row, row.difference.value), format_difference_interval(row)
    return f"{value} ({interval})" if interval else value


def format_difference_interval(row: MetricRow) -> str:
    """Format the interval of the difference; empty where it has none."""
    ends = (row.difference.low, row.difference.high)
    return " to ".join(format_signed(row, end) for end in ends if end is not None)


def format_signed(row: MetricRow, value: float) -> str:
    """Format a value with its sign and without a unit."""
    return format_value(row.metric, value, signed=True, unit=False)


def format_range(metric: str, predicted: PredictedRange) -> str:
    """Format a predicted range."""
    scale, unit = (100, " %") if metric in SHARES else (1, "")
    return f"{scale * predicted.low:g} to {scale * predicted.high:g}{unit}"


def format_reference(metric: str, predicted: PredictedRange) -> str:
    """Format what the same source gives for the first side; empty where it gives nothing."""
    if predicted.reference is None:
        return ""
    return f"{100 * predicted.reference:g} %" if metric in SHARES else f"{predicted.reference:g}"


def format_verdict(row: MetricRow) -> str:
    """Whether its prediction came true; empty where there is none."""
    if row.verdict is None:
        return ""
    if row.verdict is RangeVerdict.OPEN:
        reason = "the seeds lie on both sides of it"
        return f"{row.verdict}: {reason}" if row.n is None else f"{row.verdict} at n = {row.n}"
    return f"{row.verdict}: {row.side} it" if row.side else str(row.verdict)


def summary_sentences(comparison: CampaignComparison) -> list[str]:
    """The outcome: mean recall and accuracy, recalls by class, predictions, notes on them."""
    mean_recall = next(row for row in reversed(comparison.metrics) if row.metric.startswith("mean_recall"))
    sentences = [_describe_change(comparison, row) for row in (mean_recall, comparison.metric("accuracy"))]
    better = [row.class_name for row in comparison.recalls if row.difference.sign > 0]
    worse = [row.class_name for row in comparison.recalls if row.difference.sign < 0]
    if better or worse:
        sentences.append(
            f"Recall is shown to be higher of {', '.join(better) or 'no class'}, lower of {', '.join(worse) or 'none'}."
        )
    met, missed, unclear = (
        comparison.count_verdicts(verdict) for verdict in (RangeVerdict.MET, RangeVerdict.MISSED, RangeVerdict.OPEN)
    )
    if total := met + missed + unclear:
        sentences.append(
            f"Of {total} predictions {met} are met, {missed} missed, and {unclear} cannot be told at this n."
        )
    notes = [(row, row.predicted.note) for row in comparison.rows if row.predicted and row.predicted.note]
    return [*sentences, *(f"{metric_name(row).capitalize()}: {note}." for row, note in notes)]


def _describe_change(comparison: CampaignComparison, row: MetricRow) -> str:
    data = comparison.data
    seeds = ", ".join(str(run.seed) for run in data.first.runs)
    examples = f"{row.n:,} examples of {len(set(data.pictures)):,} pictures, mean of seeds {seeds}"
    outcomes = {1: "higher, with these seeds", -1: "lower, with these seeds", 0: "no difference is shown"}
    values = f"{format_value(row.metric, row.first.value)} to {format_value(row.metric, row.second.value)}"
    return (
        f"{metric_name(row).capitalize()} goes from {values}: {format_difference(row)} points over {examples}:"
        f" {outcomes[row.difference.sign]}."
    )
