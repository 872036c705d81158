"""A comparison in words: names of figures, numbers as people read them, and the sentences that come first."""

from flowerml.campaign.comparison.predictions import SHARES, PredictedRange, RangeVerdict
from flowerml.campaign.comparison.statistics import LEAST, CampaignComparison, Difference, Estimate, MetricRow

NAMES = {
    "accuracy": "validation accuracy",
    "mean_recall": "mean recall",
    "mean_recall_often": f"mean recall over classes of at least {LEAST} examples",
    "final_val_accuracy": "validation accuracy after the last epoch",
    "final_val_loss": "validation loss after the last epoch",
    "best_epoch": "best epoch",
    "epochs": "epochs until the end",
    "minutes_per_epoch": "minutes per epoch, with the run's start and end",
    "gap_accuracy": "gap of accuracy, training minus validation",
    "gap_mean_recall": "gap of mean recall, training minus validation",
    "gap_loss": "gap of loss, training minus validation",
}
_SHARES = (*SHARES, "mean_recall_often", "gap_accuracy", "gap_mean_recall")
_DIGITS = {"final_val_loss": 3, "gap_loss": 3, "best_epoch": 1, "epochs": 1, "minutes_per_epoch": 2}
READING = (
    "An example counts by the share of seeds that were right about it. Intervals are 95 %: of accuracy and of a class's"
    " recall Wilson's at its number of examples; of mean recall and of differences a bootstrap over pictures, each with"
    " all its examples, the same ones for both. What another seed would change is in none of them; values by seed stand"
    " beside. These examples also chose the best epochs. Of twenty differences without a cause, one is shown all the"
    " same."
)


def name_of(line: MetricRow) -> str:
    """How a person calls its figure."""
    return f"recall of {line.of}" if line.figure == "recall" else NAMES[line.figure]


def number(figure: str, value: float, *, signed: bool = False, unit: bool = True) -> str:
    """A value of a figure: shares in percent."""
    share = figure in _SHARES
    digits = 1 if share else _DIGITS[figure]
    shown = format(
        round(100 * value if share else value, digits) + 0.0, f"{'+' if signed else ''}.{digits}f"
    )  # -0.0 is 0.0
    return f"{shown} %" if share and unit else shown


def estimate(line: MetricRow, one: Estimate) -> str:
    """A value with its interval."""
    if one.low is None or one.high is None:
        return number(line.figure, one.value)
    ends = f"{number(line.figure, one.low, unit=False)} to {number(line.figure, one.high, unit=False)}"
    return f"{number(line.figure, one.value)} ({ends})"


def seeds(line: MetricRow, one: Estimate) -> str:
    """The values by seed."""
    return ", ".join(number(line.figure, value, unit=False) for value in one.by_seed)


def difference(line: MetricRow, one: Difference) -> str:
    """Second minus first, in points where it is of shares."""
    shown = number(line.figure, one.value, signed=True, unit=False)
    if one.low is None or one.high is None:
        return shown
    ends = (number(line.figure, end, signed=True, unit=False) for end in (one.low, one.high))
    return f"{shown} ({' to '.join(ends)})"


def wanted(figure: str, predicted: PredictedRange) -> str:
    """A predicted range."""
    scale = 100 if figure in SHARES else 1
    unit = " %" if figure in SHARES else ""
    return f"{scale * predicted.low:g} to {scale * predicted.high:g}{unit}"


def before(figure: str, predicted: PredictedRange) -> str:
    """What the same text gives for the first side; empty where it gives nothing."""
    if predicted.before is None:
        return ""
    return f"{100 * predicted.before:g} %" if figure in SHARES else f"{predicted.before:g}"


def verdict(line: MetricRow) -> str:
    """What became of its prediction; empty where there is none."""
    if line.verdict is None:
        return ""
    if line.verdict is RangeVerdict.OPEN:
        return (
            f"{line.verdict} at n = {line.n}"
            if line.n is not None
            else f"{line.verdict}: the seeds lie on both sides of it"
        )
    return f"{line.verdict}: {line.side} it" if line.side else str(line.verdict)


def sentences(comparison: CampaignComparison) -> list[str]:
    """The outcome first."""
    material = comparison.data
    pictures = (
        f"{len(set(material.pictures)):,} pictures, mean of seeds"
        f" {', '.join(str(run.seed) for run in material.first.runs)}"
    )
    recall = next(line for line in reversed(comparison.others) if line.figure.startswith("mean_recall"))
    said = [_apart(line, pictures) for line in (recall, comparison.line("accuracy"))]
    better = [line.of for line in comparison.recalls if line.difference.sign > 0]
    worse = [line.of for line in comparison.recalls if line.difference.sign < 0]
    if better or worse:
        said.append(
            f"Recall is shown to be higher of {', '.join(better) or 'no class'}, lower of {', '.join(worse) or 'none'}."
        )
    totals = [comparison.count(one) for one in (RangeVerdict.MET, RangeVerdict.MISSED, RangeVerdict.OPEN)]
    if sum(totals):
        said.append(
            f"Of {sum(totals)} predictions {totals[0]} are met, {totals[1]} missed, and {totals[2]} cannot be told at"
            " this n."
        )
    said += [
        f"{name_of(line).capitalize()}: {line.predicted.note}."
        for line in comparison.lines
        if line.predicted and line.predicted.note
    ]
    return said


def _apart(line: MetricRow, pictures: str) -> str:
    shown = {1: "higher, with these seeds", -1: "lower, with these seeds", 0: "no difference is shown"}[
        line.difference.sign
    ]
    values = f"{number(line.figure, line.first.value)} to {number(line.figure, line.second.value)}"
    apart = difference(line, line.difference)
    return (
        f"{name_of(line).capitalize()} goes from {values}: {apart} points over {line.n:,} examples of {pictures}:"
        f" {shown}."
    )
