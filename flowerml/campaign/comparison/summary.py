"""A comparison in words: names of metrics, formatted numbers, and the sentences that come first."""

from flowerml.campaign.comparison.predictions import SHARES, PredictedRange, RangeVerdict
from flowerml.campaign.comparison.statistics import MIN_EXAMPLES, CampaignComparison, Estimate, MetricRow
from flowerml.translation import ENGLISH, N_, Translation

METRIC_NAMES = {
    "accuracy": N_("validation accuracy"),
    "mean_recall": N_("mean recall"),
    "mean_recall_often": N_("mean recall over classes of at least {number} examples"),
    "final_val_accuracy": N_("validation accuracy after the last epoch"),
    "final_val_loss": N_("validation loss after the last epoch"),
    "best_epoch": N_("best epoch"),
    "epochs": N_("epochs until the end"),
    "minutes_per_epoch": N_("minutes per epoch, with the run's start and end"),
    "gap_accuracy": N_("gap of accuracy, training minus validation"),
    "gap_mean_recall": N_("gap of mean recall, training minus validation"),
    "gap_loss": N_("gap of loss, training minus validation"),
}
_PERCENT_METRICS = (*SHARES, "mean_recall_often", "gap_accuracy", "gap_mean_recall")
_DIGITS = {"final_val_loss": 3, "gap_loss": 3, "best_epoch": 1, "epochs": 1, "minutes_per_epoch": 2}
READING_NOTE = N_(
    "An example counts by the share of seeds that were right about it. Intervals are 95 %: of accuracy and of a class's"
    " recall Wilson's at its number of examples; of mean recall and of differences a bootstrap over pictures, each with"
    " all its examples, the same ones for both. What another seed would change is in none of them; values by seed stand"
    " beside. These examples also chose the best epochs. Of twenty differences without a cause, one is shown all the"
    " same."
)


def metric_name(row: MetricRow, texts: Translation = ENGLISH) -> str:
    """The metric as people call it."""
    if row.metric == "recall":
        return texts.gettext("recall of {name}", name=row.class_name)
    return texts.gettext(METRIC_NAMES[row.metric], number=MIN_EXAMPLES)


def format_value(
    metric: str, value: float, *, signed: bool = False, unit: bool = True, texts: Translation = ENGLISH
) -> str:
    """Format a value of a metric: shares in percent."""
    is_share = metric in _PERCENT_METRICS
    digits = 1 if is_share else _DIGITS[metric]
    rounded = round(100 * value if is_share else value, digits) + 0.0  # -0.0 becomes 0.0
    text = format(rounded, f"{'+' if signed else ''}.{digits}f")
    return texts.gettext("{number} %", number=text) if is_share and unit else text


def format_estimate(row: MetricRow, estimate: Estimate, texts: Translation = ENGLISH) -> str:
    """Format a value with its interval."""
    value = format_value(row.metric, estimate.value, texts=texts)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (format_value(row.metric, end, unit=False) for end in (estimate.low, estimate.high))
    return texts.gettext("{value} ({low} to {high})", value=value, low=low, high=high)


def format_by_seed(row: MetricRow, estimate: Estimate) -> str:
    """Format the values by seed."""
    return ", ".join(format_value(row.metric, value, unit=False) for value in estimate.by_seed)


def format_difference(row: MetricRow, texts: Translation = ENGLISH) -> str:
    """Format second minus first with its interval: in points for shares."""
    value, interval = format_signed(row, row.difference.value), format_difference_interval(row, texts)
    return f"{value} ({interval})" if interval else value


def format_difference_interval(row: MetricRow, texts: Translation = ENGLISH) -> str:
    """Format the interval of the difference; empty where it has none."""
    low, high = row.difference.low, row.difference.high
    if low is None or high is None:
        return ""
    return texts.gettext("{low} to {high}", low=format_signed(row, low), high=format_signed(row, high))


def format_signed(row: MetricRow, value: float) -> str:
    """Format a value with its sign and without a unit."""
    return format_value(row.metric, value, signed=True, unit=False)


def format_range(metric: str, predicted: PredictedRange, texts: Translation = ENGLISH) -> str:
    """Format a predicted range."""
    scale = 100 if metric in SHARES else 1
    limits = texts.gettext("{low} to {high}", low=f"{scale * predicted.low:g}", high=f"{scale * predicted.high:g}")
    return texts.gettext("{number} %", number=limits) if metric in SHARES else limits


def format_reference(metric: str, predicted: PredictedRange, texts: Translation = ENGLISH) -> str:
    """Format what the same source gives for the first side; empty where it gives nothing."""
    if predicted.reference is None:
        return ""
    if metric in SHARES:
        return texts.gettext("{number} %", number=f"{100 * predicted.reference:g}")
    return f"{predicted.reference:g}"


def format_verdict(row: MetricRow, texts: Translation = ENGLISH) -> str:
    """Whether its prediction came true; empty where there is none."""
    if row.verdict is None:
        return ""
    if row.verdict is RangeVerdict.OPEN:
        if row.n is None:
            return texts.gettext("cannot be told: the seeds lie on both sides of it")
        return texts.gettext("cannot be told at n = {n}", n=row.n)
    if not row.side:
        return texts.translated(row.verdict)
    return texts.gettext("missed: above it") if row.side == "above" else texts.gettext("missed: below it")


def summary_sentences(comparison: CampaignComparison, texts: Translation = ENGLISH) -> list[str]:
    """The outcome: mean recall and accuracy, recalls by class, predictions, notes on them."""
    _ = texts.gettext
    mean_recall = next(row for row in reversed(comparison.metrics) if row.metric.startswith("mean_recall"))
    sentences = [_describe_change(comparison, row, texts) for row in (mean_recall, comparison.metric("accuracy"))]
    better = [row.class_name for row in comparison.recalls if row.difference.sign > 0]
    worse = [row.class_name for row in comparison.recalls if row.difference.sign < 0]
    if better or worse:
        sentences.append(
            _(
                "Recall is shown to be higher of {better}, lower of {worse}.",
                better=", ".join(better) or _("no class"),
                worse=", ".join(worse) or _("none"),
            )
        )
    met, missed, unclear = (
        comparison.count_verdicts(verdict) for verdict in (RangeVerdict.MET, RangeVerdict.MISSED, RangeVerdict.OPEN)
    )
    if total := met + missed + unclear:
        sentences.append(
            _(
                "Of {total} predictions {met} are met, {missed} missed, and {unclear} cannot be told at this n.",
                total=total,
                met=met,
                missed=missed,
                unclear=unclear,
            )
        )
    notes = [(row, row.predicted.note) for row in comparison.rows if row.predicted and row.predicted.note]
    for row, note in notes:
        name = metric_name(row, texts).capitalize()
        sentences.append(_("{metric}: {note}.", metric=name, note=texts.translated(note)))
    return sentences


def _describe_change(comparison: CampaignComparison, row: MetricRow, texts: Translation) -> str:
    _, data = texts.gettext, comparison.data
    assert row.n is not None  # of the metrics over examples
    outcomes = {
        1: _("higher, with these seeds"),
        -1: _("lower, with these seeds"),
        0: _("no difference is shown"),
    }
    return _(
        "{metric} goes from {first} to {second}: {difference} points over {examples} examples of {pictures} pictures,"
        " mean of seeds {seeds}: {outcome}.",
        metric=metric_name(row, texts).capitalize(),
        first=format_value(row.metric, row.first.value, texts=texts),
        second=format_value(row.metric, row.second.value, texts=texts),
        difference=format_difference(row, texts),
        examples=texts.integer(row.n),
        pictures=texts.integer(len(set(data.pictures))),
        seeds=", ".join(str(run.seed) for run in data.first.runs),
        outcome=outcomes[row.difference.sign],
    )
