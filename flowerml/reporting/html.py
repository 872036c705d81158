"""HTML pages from Jinja2 templates: the environment, its filters, and the escaping that every value passes.

The pages are self-contained: style, figures and thumbnails are inside them, no script, no network; their filters by
class are CSS only. Autoescaping covers text and quoted attributes, so templates quote every attribute.
"""

import base64
import math
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render_page(template: str, *packages: str, **values: object) -> str:
    """Render a template of `packages` (searched first, in order) or of `flowerml.reporting`. Write the page as UTF-8.

    Raises jinja2.UndefinedError for a value that the template needs and was not given.
    """
    return _template_environment(*packages).get_template(template).render(values)


@cache
def _template_environment(*packages: str) -> Environment:
    """One environment per combination of packages: compiling a page's templates costs tens of milliseconds."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "flowerml.reporting")]),
        autoescape=True,
        finalize=_escape_unprintable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        commas=lambda number: f"{number:,}",
        coordinate=_format_coordinate,
        jpeg_data_uri=_jpeg_data_uri,
        length=_format_length,
        percent=format_percent,
        pluralize=pluralize,
    )
    return environment


def _escape_unprintable(value: object) -> object:
    r"""Make control, bidirectional and undecodable characters visible (`\u202e`), before autoescaping.

    Without it a file name could reverse the text after it, or make the page impossible to encode. What is already
    markup, such as the output of a macro, stays as it is.
    """
    if hasattr(value, "__html__") or isinstance(value, int | float):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def format_percent(share: float) -> str:
    """Format a share or probability (0 to 1) as a percentage with one decimal; "unknown" where it is not finite."""
    return f"{share:.1%}" if math.isfinite(share) else "unknown"


def pluralize(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: `1 class`, `3,881 pictures`. `plural` is for nouns that do not just take an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _format_length(share: float) -> str:
    """The CSS length of a bar for a share (0 to 1, clipped; empty where it is not finite)."""
    return f"{100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0:.1f}%"


def _format_coordinate(value: float) -> str:
    """An SVG coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _jpeg_data_uri(jpeg: bytes) -> Markup:
    """A JPEG file as a URI for `src`. Base64 has nothing to escape; looking for it would cost more than encoding."""
    return Markup("data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"))
