"""One self-contained HTML page of what a folder holds: counts, sizes, and everything to look at before training on it.

The page is whole in itself (see `page`); the filter of the doubted labels by class is CSS only.
"""

from pathlib import PurePath

from flowerml.data.quality.summary import FolderReport
from flowerml.evaluation.label_errors import LabelErrors
from flowerml.reporting import data_page_groups as data_groups
from flowerml.reporting import data_page_label_errors as data_suspects
from flowerml.reporting.data_page_groups import across_section, near_section
from flowerml.reporting.data_page_label_errors import suspects_section
from flowerml.reporting.html import Thumbnail, counted, html_document, percent, section, text
from flowerml.reporting.size_figure import size_figure, size_words

_STYLE = """
section { margin-top: 46px; scroll-margin-top: 12px; }
h2 { margin: 0 0 6px; font-size: 1.22rem; line-height: 1.3; }
.note { max-width: 76ch; }
code { font: .92em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.note code { color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); gap: 12px; margin: 22px 0 0; padding: 0;
  list-style: none; }
.tiles a { display: flex; flex-direction: column; height: 100%; padding: 11px 14px; border: 1px solid var(--line); border-left-width: 5px;
  border-radius: 10px; background: var(--card); color: inherit; text-decoration: none; }
.tiles a:hover span { text-decoration: underline; }
.tiles a:focus-visible { outline: 3px solid var(--right-bar); outline-offset: 2px; }
.tiles b { font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles span { flex: 1; line-height: 1.35; }
.tiles small { margin-top: 5px; color: var(--muted); font-size: .85rem; line-height: 1.35; }
.tiles .act { border-color: var(--wrong-bar); }
.act b, .act small { color: var(--wrong); }
.nothing { margin: 10px 0 0; padding: 13px 16px; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.more { margin: 12px 0 0; color: var(--muted); }
table { border-collapse: collapse; margin-top: 12px; }
th, td { padding: 5px 16px 5px 0; text-align: left; vertical-align: top; font-weight: 400; overflow-wrap: anywhere; }
thead th { color: var(--muted); font-size: .9rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.counts { width: 100%; max-width: 880px; }
.counts th:first-child { min-width: 7em; }
.counts .length { width: 60%; min-width: 50px; }
.counts th, .counts td { vertical-align: middle; }
.length i { display: block; height: 14px; min-width: 2px; border-radius: 3px; background: var(--right-bar); }
.sizes { display: flex; flex-wrap: wrap; gap: 8px 44px; align-items: center; margin-top: 12px; }
.scatter { flex: 1 1 300px; min-width: 0; max-width: 440px; height: auto; }
.scatter text { fill: var(--muted); font: 11px system-ui, sans-serif; }
.scatter path { fill: none; stroke: var(--line); }
.scatter .square { stroke: var(--muted); stroke-dasharray: 4 4; opacity: .6; }
.scatter circle { fill: var(--right-bar); fill-opacity: .5; stroke: var(--right-bar); }
.files { width: 100%; }
.files tbody tr { border-top: 1px solid var(--line); }
.files td:first-child { width: 50%; }
@media (max-width: 480px) { th, td { padding-right: 10px; } }
@media print {
  :root { --page: #fff; }
  main { max-width: none; padding: 0; }
  section { margin-top: 30px; }
  .scatter { max-width: 300px; }
  fieldset { display: none; }
  .card, .group, .tiles li, tr, .sizes { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .length i, .bar, .bar i { print-color-adjust: exact; }
}
"""
_ROWS = 500  # lines in the table of bad files


def data_page(report: FolderReport, suspects: LabelErrors | None, *, thumbnail: Thumbnail, limit: int = 40) -> str:
    """HTML page of a folder's report; `suspects` is None where the labels were not questioned.

    `thumbnail` gives the JPEG file (160 to 224 pixels) of a picture by its key, or None for a neutral box; it is asked
    for shown pictures only, and what it raises is passed on. At most `limit` groups of each kind and `limit` suspects
    of a class are shown, and fewer of a class where there are more than a few dozen classes. Write the page as UTF-8.
    Raises ValueError for a negative limit.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")
    head = f"{counted(sum(report.counts.values()), 'picture')} in {counted(len(report.counts), 'class', 'classes')}"
    labels, rules = suspects_section(report, suspects, thumbnail, limit)
    body = [
        f'<p class="summary"><b>{head}</b></p>',
        (
            f'<p class="note">Folder <code>{text(report.root)}</code><br>Digest of the content'
            f" <code>{text(report.digest)}</code></p>"
        ),
        _findings(report, suspects),
        section("counts", "Pictures per class", _counts(report)),
        section("sizes", "Sizes", _sizes(report)),
        section("bad", "Files that can't be read", _bad(report)),
        across_section(report, thumbnail, limit),
        near_section(report, thumbnail, limit),
        labels,
    ]
    title = f"Data check: {PurePath(report.root).name or report.root}"
    return html_document(title, _STYLE + data_groups.STYLE + data_suspects.STYLE + rules, "\n".join(body))


def _findings(report: FolderReport, suspects: LabelErrors | None) -> str:
    """What was found, at a glance; coloured is only what a person has to act on."""
    bad, across, near = len(report.bad), len(report.across_classes), len(report.near_duplicates)
    tiles = [
        _tile("bad", bad, "bad file", "bad files", act="mend or remove them"),
        _tile("across", across, "photo under two labels", "photos under two labels", act="decide which label is right"),
        _tile("near", near, "near-duplicate group", "near-duplicate groups", fine="no action needed" if near else ""),
    ]
    if suspects is None:
        tiles.append(_tile("labels", None, "", "likely wrong labels", fine="not looked for"))
    else:
        tiles.append(
            _tile(
                "labels",
                sum(suspects.estimated.values()),
                "likely wrong label",
                "likely wrong labels",
                act="look at each of them",
            )
        )
    return f'<nav aria-label="Findings"><ul class="tiles">{"".join(tiles)}</ul></nav>'


def _tile(anchor: str, count: int | None, one: str, several: str, *, act: str = "", fine: str = "") -> str:
    """A count (None: unknown) that leads to its section; where it is above 0, `act` says what has to be done about it."""
    mark = ' class="act"' if count and act else ""
    small = (act if count else "") or fine or "nothing found"
    number = "–" if count is None else f"{count:,}"
    return (
        f"<li><a{mark}"
        f' href="#{anchor}"><b>{number}</b><span>{one if count == 1 else several}</span><small>{small}</small></a></li>'
    )


def _counts(report: FolderReport) -> str:
    """A bar, a number and a share for each class, and how uneven the classes are."""
    total, largest = sum(report.counts.values()), max(report.counts.values(), default=0)
    rows = [
        f'<tr><th scope="row">{text(name)}</th><td class="length">{_length(count, largest)}</td>'
        f'<td class="number">{count:,}</td><td class="number">{percent(count / max(1, total))}</td></tr>'
        for name, count in report.counts.items()
    ]
    head = (
        '<th scope="col">class</th><td></td><th scope="col" class="number">pictures</th><th scope="col"'
        ' class="number">share</th>'
    )
    table = (
        f'<table class="counts">\n<thead><tr>{head}</tr></thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody>\n</table>"
    )
    notes = [_balance(report)]
    if report.left_out:
        names = ", ".join(f"<code>{text(name)}</code>" for name in report.left_out)
        notes.append(f"Left out, as they are none of the classes: {names}.")
    return "\n".join([*(f'<p class="note">{note}</p>' for note in notes), table])


def _length(count: int, largest: int) -> str:
    """A bar whose length is `count` in proportion to `largest`; none for 0, as the shortest bar is wide enough to be
    seen.
    """
    return f'<i style="width:{100 * count / largest:.1f}%"></i>' if count else ""


def _balance(report: FolderReport) -> str:
    """In a sentence, how many times the pictures of the smallest class the largest one has."""
    ordered = sorted(report.counts.items(), key=lambda item: item[1])
    empty = [text(name) for name, count in ordered if count == 0]
    if empty:
        return f"Without a readable picture: {', '.join(empty)}."
    if len(ordered) < 2:
        return "There is only one class." if ordered else "There are no classes."
    (small, fewest), (large, most) = ordered[0], ordered[-1]
    if fewest == most:
        return "Every class has as many pictures."
    return f"Imbalance {most / fewest:.2f} : 1, from {text(large)} ({most:,}) to {text(small)} ({fewest:,})."


def _sizes(report: FolderReport) -> str:
    """The scatter of widths and heights beside their ranges."""
    if not report.sizes:
        return f'<p class="nothing">{size_words(report.sizes)}</p>'
    rows = []
    for name, values in (("width [px]", report.widths), ("height [px]", report.heights)):
        cells = [f'<td class="number">{value:,g}</td>' for value in values]
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    head = "<td></td>" + "".join(
        f'<th scope="col" class="number">{name}</th>' for name in ("smallest", "median", "largest")
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
    return (
        f'<p class="note">{size_words(report.sizes)}</p>\n<div'
        f' class="sizes">\n{size_figure(report.sizes)}\n{table}\n</div>'
    )


def _bad(report: FolderReport) -> str:
    """Path and reason of every file that can't be used."""
    if not report.bad:
        return '<p class="nothing">Every picture could be read.</p>'
    rows = [
        f"<tr><td><code>{text(entry.file)}</code></td><td>{text(entry.reason)}</td></tr>"
        for entry in report.bad[:_ROWS]
    ]
    rest = len(report.bad) - len(rows)
    more = (
        f'\n<p class="more">and {rest:,} more: <code>flowerml dataset check</code> lists them all</p>' if rest else ""
    )
    return (
        '<p class="note">Mend or remove them. <code>--bad-images skip</code> trains without them.</p>\n'
        '<table class="files">\n<thead><tr><th scope="col">file</th><th scope="col">reason</th></tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + f"\n</tbody>\n</table>{more}"
    )
