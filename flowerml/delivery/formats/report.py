"""The files of one model side by side: for the terminal and for the model card."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowerml.delivery.formats.check import FormatCheck
from flowerml.delivery.manifest import MADE_FROM, PART_OF
from flowerml.human_units import amount

_HEADINGS = ("file", "size", "ms/picture", "in 16s", "logits within", "probe labels", "validation photos")


def table_lines(checks: Sequence[FormatCheck]) -> list[str]:
    """A table of the files of one model, the `.pth` first, and the remarks on them."""
    rows = [_HEADINGS, *(_row(check) for check in checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if place in (0, len(row) - 1) else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    remarks = dict.fromkeys(remark for check in checks for remark in check.remarks)
    return [*lines, *(f"  {remark}" for remark in remarks)]


def _row(check: FormatCheck) -> tuple[str, ...]:
    return (
        check.file,
        amount(check.bytes),
        *(f"{value:.1f}" for value in check.ms.values()),
        "" if check.logit_difference is None else f"{check.logit_difference:.1e}",
        "" if check.probe_labels is None else f"{check.probe_labels} of {check.probe_inputs} changed",
        _photos(check.as_json()),
    )


def format_section(weights: str, formats: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lines of the model card on the files that were made from `weights` (manifest entries by name), if any."""
    own = {name: entry for name, entry in formats.items() if entry[MADE_FROM] == weights and PART_OF not in entry}
    if not own:
        return
    yield f"Other formats of {weights}. Logits are compared with those of the run on its probe, int8 files with fp32"
    yield "ones by the validation photos; ms per picture on the CPU of the machine that exported.\n"
    yield "| file | stored as | logits within | probe labels changed | validation photos | ms, single | ms, in 16s |"
    yield "|---|---|---:|---:|---|---:|---:|"
    for name, entry in sorted(own.items()):
        difference, times = entry.get("logit_difference"), entry.get("ms_per_picture", {})
        changed = (
            "not compared" if difference is None else f"{entry['probe_labels_changed']} of {entry['probe_inputs']}"
        )
        yield (
            f"| {name} | {entry['format']}, {entry['precision']} |"
            f" {'not compared' if difference is None else f'{difference:.1e}'} | {changed} |"
            f" {_photos(entry) or 'not compared'} | {times.get('1', '')} | {times.get('16', '')} |"
        )


def _photos(entry: Mapping[str, Any]) -> str:
    """How labels of the validation photos changed, and the accuracy with its interval; "" where nothing is known."""
    if not entry.get("photos"):
        return ""
    text = f"{entry['photo_labels_changed']} of {entry['photos']} labels changed"
    if (change := entry.get("accuracy_change")) is None:
        return text
    low, high = change["interval_95"]["low"], change["interval_95"]["high"]
    return (
        f"{text}; accuracy {change['gain']:+.4f} (95 % interval {low:+.4f} to {high:+.4f}"
        f"{'' if change['shown'] else ': not shown'})"
    )
