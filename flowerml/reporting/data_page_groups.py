"""Groups of pictures side by side on the page of a folder: near-duplicates, and one photo under several labels."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest

from flowerml.data.quality.summary import FolderReport
from flowerml.reporting.html import Thumbnail, counted, picture, section, text

STYLE = """
.groups { display: flex; flex-wrap: wrap; gap: 14px; margin: 14px 0 0; padding: 0; list-style: none; }
.group { max-width: 100%; padding: 10px 12px 12px; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.group > p { margin: 0 0 8px; color: var(--muted); font-size: .88rem; }
.group > .more { margin: 8px 0 0; }
.side { display: flex; flex-wrap: wrap; gap: 10px; }
figure { flex: 0 1 130px; min-width: 108px; margin: 0; }
figure img, figure .none { width: 100%; aspect-ratio: 1; border-radius: 6px; background: var(--box); object-fit: contain; }
figure img { display: block; }
figcaption { margin-top: 6px; overflow-wrap: anywhere; font-size: .9rem; line-height: 1.35; }
figcaption code { display: block; color: var(--muted); font-size: .78rem; }
.tag { display: inline-block; padding: 0 8px; border: 1px solid var(--muted); border-radius: 999px; color: var(--muted);
  font-size: .78rem; }
"""
_MEMBERS = 12  # pictures shown of one group


def across_section(report: FolderReport, thumbnail: Thumbnail, limit: int) -> str:
    """The same photo under several labels: what it means, what to do, and up to `limit` groups."""
    if not report.across_classes:
        body = '<p class="nothing">No photo stands under two labels.</p>'
    else:
        body = (
            f'<p class="note">One photo, more than one label ({text(report.groups_from)}). Remove the copies in the'
            " wrong folder. To train as it is, say what becomes of them: <code>--duplicates keep</code> trains on all"
            " copies, <code>--duplicates drop</code> on"
            f" none.</p>\n{_groups(report.across_classes, report.identical, thumbnail, limit)}"
        )
    return section("across", "The same photo under two labels", body)


def near_section(report: FolderReport, thumbnail: Thumbnail, limit: int) -> str:
    """Near-duplicates in a class: up to `limit` groups."""
    if not report.near_duplicates:
        body = '<p class="nothing">No photo occurs twice in its class.</p>'
    else:
        body = (
            f'<p class="note">Copies and edits of one photo ({text(report.groups_from)}). Nothing needs to be done:'
            " each group stays on one side of the"
            f" split.</p>\n{_groups(report.near_duplicates, report.identical, thumbnail, limit)}"
        )
    return section("near", "Near-duplicates in a class", body)


def _groups(
    groups: Sequence[Sequence[str]], identical: Sequence[Sequence[str]], thumbnail: Thumbnail, limit: int
) -> str:
    content = {key: number for number, keys in enumerate(identical) for key in keys}
    items = "\n".join(_group(group, content, thumbnail) for group in groups[:limit])
    rest = len(groups) - limit
    more = (
        f'\n<p class="more">and {counted(rest, "more group")}: <code>flowerml dataset check --json</code> lists them'
        " all</p>"
    )
    return f'<ul class="groups">\n{items}\n</ul>{more if rest > 0 else ""}'


def _group(group: Sequence[str], content: dict[str, int], thumbnail: Thumbnail) -> str:
    """One group; `content` gives pictures of equal bytes an equal number, and the others none."""
    numbers = sorted({content[key] for key in group if key in content})
    same = len(numbers) == 1 and all(key in content for key in group)
    letters = {
        number: f"identical {chr(65 + index % 26) if len(numbers) > 1 else 'file'}"
        for index, number in enumerate(numbers)
    }
    shown = _mixed(group)[:_MEMBERS]
    figures = [
        _figure(key, "" if same or key not in content else letters[content[key]], thumbnail(key)) for key in shown
    ]
    rest = len(group) - len(shown)
    head = counted(len(group), "picture") + (' · <span class="tag">byte for byte the same</span>' if same else "")
    more = f'<p class="more">and {rest:,} more</p>' if rest else ""
    return f'<li class="group"><p>{head}</p><div class="side">{"".join(figures)}</div>{more}</li>'


def _mixed(group: Sequence[str]) -> list[str]:
    """The pictures in their order, but where not all are shown, the classes by turns: every label is then among the
    first.
    """
    if len(group) <= _MEMBERS:
        return list(group)
    by_class: dict[str, list[str]] = defaultdict(list)
    for key in group:
        by_class[key.partition("/")[0]].append(key)
    return [key for key in chain.from_iterable(zip_longest(*by_class.values())) if key is not None]


def _figure(key: str, tag: str, jpeg: bytes | None) -> str:
    label, _, name = key.partition("/")
    mark = f'<span class="tag">{tag}</span>' if tag else ""
    return f"<figure>{picture(jpeg, key)}<figcaption><b>{text(label)}</b><code>{text(name)}</code>{mark}</figcaption></figure>"
