"""One self-contained HTML page of the wrongly classified pictures, the most confidently wrong ones first.

The page needs no script and loads nothing: the thumbnails are inside it, and the filter by kind of mistake is CSS only.
"""

import base64
import html
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1c1e21; --muted: #5c636b; --line: #dfe3e8;
  --box: #eceff2; --wrong: #b34700; --wrong-bar: #d55e00; --right: #00618f; --right-bar: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171a; --card: #1f2226; --ink: #e8eaed; --muted: #a3abb4; --line: #343a41;
    --box: #2a2e33; --wrong: #ff9a57; --wrong-bar: #e8711a; --right: #7cc4ee; --right-bar: #3a9bd9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { margin: 0 0 4px; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
.summary { margin: 0; font-size: 1.05rem; }
.note { margin: 4px 0 0; color: var(--muted); font-size: .9rem; }
fieldset { margin: 18px 0 22px; padding: 0; border: 0; min-width: 0; display: flex; flex-wrap: wrap; gap: 8px;
  max-height: 15rem; overflow-y: auto; }
legend { padding: 0 0 8px; color: var(--muted); font-size: .9rem; }
.chip { position: relative; display: inline-flex; gap: 8px; padding: 3px 11px; border: 1px solid var(--line);
  border-radius: 999px; background: var(--card); font-size: .88rem; cursor: pointer; max-width: 100%;
  overflow-wrap: anywhere; }
.chip input { position: absolute; opacity: 0; pointer-events: none; }
.chip:has(:checked) { background: var(--ink); border-color: var(--ink); color: var(--page); }
.chip:has(:focus-visible) { outline: 3px solid var(--right-bar); outline-offset: -3px; }
.chip:has(:disabled) { color: var(--muted); cursor: default; border-style: dashed; }
.chip b { font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 16px; margin: 0; padding: 0;
  list-style: none; }
.card { display: flex; flex-direction: column; min-width: 0; overflow: hidden; border: 1px solid var(--line);
  border-radius: 10px; background: var(--card); }
.card img, .none { display: block; width: 100%; aspect-ratio: 1; background: var(--box); object-fit: contain; }
.none { display: grid; place-items: center; color: var(--muted); font-size: .85rem; }
.card dl { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 2px 10px; margin: 0; padding: 10px 12px 0; }
.card dt, .card dd { margin: 0; min-width: 0; overflow-wrap: anywhere; font-weight: 600; }
.card dt small { display: block; color: var(--muted); font-weight: 400; line-height: 1.3; }
.card dd { align-self: end; text-align: right; font-variant-numeric: tabular-nums; }
.wrong { color: var(--wrong); } .right { color: var(--right); }
.bar { grid-column: 1 / -1; height: 5px; margin-bottom: 8px; border-radius: 3px; background: var(--box); }
.bar i { display: block; height: 100%; border-radius: 3px; }
.bar.wrong i { background: var(--wrong-bar); } .bar.right i { background: var(--right-bar); }
.card p { margin: auto 0 0; padding: 4px 12px 11px; color: var(--muted); font: .78rem/1.4 ui-monospace, monospace;
  overflow-wrap: anywhere; }
.fine { margin-top: 40px; padding: 48px 20px; border: 1px solid var(--line); border-radius: 12px;
  background: var(--card); text-align: center; font-size: 1.1rem; }
"""


@dataclass(frozen=True)
class Mistake:
    """One wrongly classified picture.

    `image` is its path relative to the data set, `label` its true class, `predicted` the class the model chose;
    `p_label` and `p_predicted` are the probabilities (0 to 1) the model gave to the two.
    """

    image: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float

    @property
    def margin(self) -> float:
        """How much surer the model was of the wrong class than of the true one; -1 where either is not a number."""
        margin = self.p_predicted - self.p_label
        return margin if math.isfinite(margin) else -1.0


def _text(value: str) -> str:
    """Escaped for HTML text and attributes; control, direction and undecodable characters become visible escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)
    return html.escape(shown, quote=True)


def _percent(probability: float) -> str:
    """A probability as a percentage with one decimal."""
    return f"{probability:.1%}" if math.isfinite(probability) else "unknown"


def _bar(kind: str, name: str, label: str, probability: float) -> str:
    """A class with its probability, and a bar of that length."""
    width = 100 * min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
    return (
        f'<dt class="{kind}"><small>{label}</small>{_text(name)}</dt><dd class="{kind}">{_percent(probability)}</dd>'
        f'<dd class="bar {kind}"><i style="width:{width:.1f}%"></i></dd>'
    )


def _card(row: Mistake, kind: int, jpeg: bytes | None) -> str:
    """One picture; `kind` is the number of its pair of classes in the filter."""
    picture = '<div class="none">no picture</div>'
    if jpeg is not None:
        alt = f"{_text(row.image)}: {_text(row.label)}, taken for {_text(row.predicted)}"
        data = base64.b64encode(jpeg).decode("ascii")
        picture = f'<img alt="{alt}" loading="lazy" src="data:image/jpeg;base64,{data}">'
    bars = _bar("wrong", row.predicted, "predicted", row.p_predicted) + _bar("right", row.label, "true", row.p_label)
    return f'<li class="card k{kind}">{picture}<dl>{bars}</dl><p>{_text(row.image)}</p></li>'


def _filter(kinds: Sequence[tuple[tuple[str, str], int]], shown: set[int], total: int) -> str:
    """Chips with the count of each pair of classes, also the filter; a pair without a card can't be chosen."""
    radio = '<label class="chip"><input type="radio" name="kind" autocomplete="off"'
    chips = [f'{radio} id="all" checked><span>all</span><b>{total}</b></label>']
    for number, ((label, predicted), count) in enumerate(kinds):
        off = "" if number in shown else " disabled"
        name = f"{_text(label)} → {_text(predicted)}"
        chips.append(f'{radio} id="k{number}"{off}><span>{name}</span><b>{count}</b></label>')
    return f"<fieldset><legend>true class → predicted class</legend>{''.join(chips)}</fieldset>"


def _document(title: str, rules: str, body: str) -> str:
    """The page around its content."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}{rules}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{_text(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def errors_page(
    rows: Sequence[Mistake],
    *,
    title: str,
    total: int,
    thumbnail: Callable[[Mistake], bytes | None],
    limit: int = 200,
) -> str:
    """HTML page of the mistakes `rows` among `total` classified pictures, the largest margin first.

    `thumbnail` gives a picture's JPEG file, or None for a neutral box; it is asked for shown pictures only, of which
    there are at most `limit`, and what it raises is passed on. Write the page as UTF-8. Raises ValueError for a
    negative limit, or a `total` below the number of mistakes.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")
    if total < len(rows):
        raise ValueError(f"{len(rows)} mistakes among {total} pictures")
    if not rows:
        fine = "Every picture was classified correctly." if total else "No pictures were classified."
        body = f'<p class="summary"><b>0 of {total} wrong</b></p>\n<p class="fine">{fine}</p>'
        return _document(title, "", body)
    ordered = sorted(rows, key=lambda row: (-row.margin, row.image))
    pairs = Counter((row.label, row.predicted) for row in rows)
    kinds = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    number = {pair: index for index, (pair, _) in enumerate(kinds)}
    shown = [(row, number[row.label, row.predicted]) for row in ordered[:limit]]
    cards = [_card(row, kind, thumbnail(row)) for row, kind in shown]
    rest = len(rows) - len(cards)
    note = "Surest mistakes first: by the probability of the predicted class minus that of the true class."
    if rest:
        note += f" {rest} more {'is' if rest == 1 else 'are'} not shown."
    used = {kind for _, kind in shown}
    rules = "".join(f"body:has(#k{kind}:checked) .card:not(.k{kind}) {{ display: none; }}\n" for kind in sorted(used))
    body = (
        f'<p class="summary"><b>{len(rows)} of {total} wrong</b> ({len(rows) / total:.1%})</p>\n'
        f'<p class="note">{note}</p>\n{_filter(kinds, used, len(rows))}\n<ol class="grid">\n' + "\n".join(cards) + "\n</ol>"
    )
    return _document(title, rules, body)


def thumbnail_jpeg(image: Image.Image, side: int = 224) -> bytes:
    """JPEG file of a picture made to fit a square of `side` pixels; never enlarged, and the picture isn't changed.

    It is turned upright by its EXIF orientation, and transparency becomes white. No metadata (place, camera, comment)
    of the picture is kept. Raises ValueError for a side below 1, and OSError for a picture that can't be decoded.
    """
    if side < 1:
        raise ValueError(f"a thumbnail of {side} pixels")
    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in "IF":  # one deep channel: its own range becomes black to white, a plain conversion clips
        deep = np.nan_to_num(np.asarray(upright, dtype=np.float64))
        low, high = float(deep.min()), float(deep.max())
        upright = Image.fromarray(((deep - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8))
    # By way of RGB, as not every colour space converts to RGBA.
    layers = upright.convert("RGBA") if upright.has_transparency_data else upright.convert("RGB").convert("RGBA")
    layers.thumbnail((side, side), Image.Resampling.LANCZOS)
    flat = Image.new("RGB", layers.size, "white")
    flat.paste(layers, mask=layers.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, format="JPEG", quality=82, optimize=True)
    return buffer.getvalue()
