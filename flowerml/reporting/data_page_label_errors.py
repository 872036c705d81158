"""Pictures whose label is doubted, class by class, on the page of a folder."""

from collections.abc import Sequence

from flowerml.data.quality.summary import FolderReport
from flowerml.evaluation.label_errors import LabelError, LabelErrors
from flowerml.reporting.html import Thumbnail, bar, counted, percent, picture, section, text

STYLE = """
h3 { margin: 28px 0 10px; font-size: 1.02rem; overflow-wrap: anywhere; }
h3 small { margin-left: 6px; color: var(--muted); font-size: .88rem; font-weight: 400; }
.card { position: relative; }
.likely { position: absolute; top: 8px; left: 8px; padding: 1px 9px; border: 1px solid var(--wrong-bar); border-radius: 999px;
  background: var(--card); color: var(--wrong); font-size: .8rem; font-weight: 600; }
"""
_CARDS = 600  # cards on the page: some 10 kB each


def suspects_section(
    report: FolderReport, suspects: LabelErrors | None, thumbnail: Thumbnail, limit: int
) -> tuple[str, str]:
    """The section and the CSS rules of its filter: up to `limit` cards of a class, fewer where there are very many
    classes.
    """
    title = "Doubted labels"
    if suspects is None:
        return section("labels", title, '<p class="nothing">The labels were not questioned this time.</p>'), ""
    note = f'<p class="note">{text(suspects.how)}</p>'
    doubted = {name: rows for name, rows in suspects.by_class.items() if rows}
    if not doubted:
        return section("labels", title, f'{note}\n<p class="nothing">No label is doubted.</p>'), ""
    advice = (
        "Look at each picture: move it to the right folder, or leave it where the label is right. The model can be"
        " wrong too."
    )
    if not any(suspects.estimated.values()):
        advice = "No label is likely wrong. These are the ones the model agrees with least."
    names = [name for name in report.counts if name in doubted] + [
        name for name in doubted if name not in report.counts
    ]
    cut = min(limit, max(1, _CARDS // len(names)))
    parts = [_class(number, name, report, suspects, thumbnail, cut) for number, name in enumerate(names)]
    rules = [f"body:has(#c{number}:checked) .of:not(.c{number}) {{ display: none; }}\n" for number in range(len(names))]
    body = f'{note}\n<p class="note">{advice}</p>\n{_filter(names, report, suspects)}\n' + "\n".join(parts)
    return section("labels", title, body), "".join(rules)


def _filter(names: Sequence[str], report: FolderReport, suspects: LabelErrors) -> str:
    """Chips with the likely wrong labels of each class, also the filter; a class without a card can't be chosen."""
    radio = '<label class="chip"><input type="radio" name="class" autocomplete="off"'
    chips = [f'{radio} id="all" checked><span>all</span><b>{sum(suspects.estimated.values()):,}</b></label>']
    for number, name in enumerate(names):
        chips.append(
            f'{radio} id="c{number}"><span>{text(name)}</span><b>{suspects.estimated.get(name, 0):,}</b></label>'
        )
    for name in report.counts:
        if name not in names:
            chips.append(
                f"{radio} disabled><span>{text(name)}</span><b>{suspects.estimated.get(name, 0):,}</b></label>"
            )
    return (
        "<fieldset><legend>class of the folder, and how many of its labels are likely"
        f" wrong</legend>{''.join(chips)}</fieldset>"
    )


def _class(
    number: int, name: str, report: FolderReport, suspects: LabelErrors, thumbnail: Thumbnail, limit: int
) -> str:
    """The cards of one class; `number` is its number in the filter."""
    rows, estimated, pictures = suspects.by_class[name], suspects.estimated.get(name, 0), report.counts.get(name, 0)
    share = f" of {counted(pictures, 'picture')} ({percent(estimated / pictures)})" if pictures else ""
    cards = "\n".join(_card(row, thumbnail(row.key)) for row in rows[:limit])
    rest = len(rows) - limit
    more = f'\n<p class="more">and {rest:,} more of {text(name)}</p>' if rest > 0 else ""
    head = f"<h3>{text(name)} <small>{estimated:,} likely wrong{share}</small></h3>"
    return f'<div class="of c{number}">\n{head}\n<ol class="grid">\n{cards}\n</ol>{more}\n</div>'


def _card(row: LabelError, jpeg: bytes | None) -> str:
    alt = f"{row.key}: labelled {row.label}, taken for {row.suggested}"
    mark = '<span class="likely">likely wrong</span>' if row.likely_wrong else ""
    bars = bar("wrong", row.label, "the folder says", row.p_label) + bar(
        "right", row.suggested, "the model says", row.p_suggested
    )
    return f'<li class="card">{picture(jpeg, alt)}{mark}<dl>{bars}</dl><p>{text(row.key)}</p></li>'
