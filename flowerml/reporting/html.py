"""HTML pages from Jinja2 templates: the environment, its filters, and the escaping that every value passes.

The pages are self-contained: style, figures and thumbnails are inside them, no script, no network; their filters by
class are CSS only. Autoescaping covers text and quoted attributes, so templates quote every attribute.
"""

import base64
import math
from collections.abc import Callable
from functools import cache, partial

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flowerml.translation import ENGLISH, Translation, translation

_NO_BREAK_SPACES = "\u00a0\u202f"  # of translated sentences; in English they only come from names


def render_page(template: str, *packages: str, language: str = "en", **values: object) -> str:
    """Render a template of `packages` (searched first, in order) or of `flowerml.reporting`. Write the page as UTF-8.

    Raises jinja2.UndefinedError for a value that the template needs and was not given.
    """
    return _template_environment(*packages, language=language).get_template(template).render(values)


@cache
def _template_environment(*packages: str, language: str = "en") -> Environment:
    """One environment per combination of packages: compiling a page's templates costs tens of milliseconds."""
    texts = translation(language)
    visible = partial(_escape_unprintable, allowed="" if texts is ENGLISH else _NO_BREAK_SPACES)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "flowerml.reporting")]),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        commas=lambda number: f"{number:,}",
        coordinate=_format_coordinate,
        integer=texts.integer,
        jpeg_data_uri=_jpeg_data_uri,
        length=_format_length,
        percent=partial(format_percent, texts=texts),
        pluralize=pluralize,
    )
    environment.globals.update(language=language, translated=texts.translated, **_message_functions(texts, visible))
    return environment


def _message_functions(texts: Translation, visible: Callable[[object], object]) -> dict[str, Callable[..., Markup]]:
    """`_` and `ngettext` for templates. Messages are markup, the project's own; their values are escaped as any others.

    Jinja2's own `{% trans %}` would let values past `finalize`.
    """

    def fill_in(message: str, values: dict[str, object]) -> Markup:
        # The message is of the catalogue; the values are escaped.
        return Markup(message).format(**{name: visible(value) for name, value in values.items()})  # nosec B704

    def markup(message: str, **values: object) -> Markup:
        return fill_in(texts.translated(message), values)

    def plural_markup(singular: str, plural: str, number: int, **values: object) -> Markup:
        return fill_in(texts.plural_form(singular, plural, number), {"number": texts.integer(number), **values})

    return {"_": markup, "ngettext": plural_markup}


def _escape_unprintable(value: object, allowed: str = "") -> object:
    r"""Make control, bidirectional and undecodable characters visible (`\u202e`), before autoescaping.

    Without it a file name could reverse the text after it, or make the page impossible to encode. What is already
    markup, such as the output of a macro, stays as it is; so do characters of `allowed`.
    """
    if hasattr(value, "__html__") or isinstance(value, int | float):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in allowed else c.encode("unicode_escape").decode("ascii") for c in text)


def format_percent(share: float, digits: int = 1, texts: Translation = ENGLISH) -> str:
    """Format a share or probability (0 to 1) as a percentage; "unknown" where it is not finite."""
    return texts.percent(share, digits) if math.isfinite(share) else texts.gettext("unknown")


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
    return Markup("data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"))  # nosec B704
