"""What the self-contained HTML pages share: style (light and dark), escaping, bars, thumbnails, and the document around
it all.

The pages need no script and load nothing: the thumbnails are inside them, and the filters are CSS only.
"""

import base64
import html
import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

Thumbnail = Callable[[str], bytes | None]  # the JPEG file of a picture by its key, None where there is none

STYLE = """
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


def text(value: str) -> str:
    """Escaped for HTML text and attributes; control, direction and undecodable characters become visible escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)
    return html.escape(shown, quote=True)


def percent(share: float) -> str:
    """A share or probability (0 to 1) as a percentage with one decimal; "unknown" where it is not a number."""
    return f"{share:.1%}" if math.isfinite(share) else "unknown"


def bar(kind: str, name: str, label: str, probability: float) -> str:
    """A class with its probability, and a bar of that length, for a `<dl>`. `kind` is `wrong` or `right`, `label` plain
    HTML.
    """
    width = 100 * min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
    return (
        f'<dt class="{kind}"><small>{label}</small>{text(name)}</dt><dd class="{kind}">{percent(probability)}</dd>'
        f'<dd class="bar {kind}"><i style="width:{width:.1f}%"></i></dd>'
    )


def picture(jpeg: bytes | None, alt: str) -> str:
    """A thumbnail (JPEG file) inside the page, or a neutral box where there is none. `alt` says in words what it shows."""
    if jpeg is None:
        return '<div class="none">no picture</div>'
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img alt="{text(alt)}" loading="lazy" src="data:image/jpeg;base64,{data}">'


def counted(number: int, noun: str, several: str = "") -> str:
    """A number with its noun, which takes an s, or becomes `several`, for any number but 1: `1 class`, `3,881
    pictures`.
    """
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def section(anchor: str, title: str, body: str) -> str:
    """A part of a page, with its heading, to which a link `#anchor` leads. `title` is plain text, `body` HTML."""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n<h2'
        f' id="{anchor}-title">{text(title)}</h2>\n{body}\n</section>'
    )


def html_document(title: str, rules: str, body: str) -> str:
    """The page around its content. `rules` are CSS beyond `STYLE`, `body` is HTML; the title also becomes the heading."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{rules}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{text(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


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
