"""What every template has in common: all values are escaped, visibly where they can't be printed."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

import flowerml
from flowerml.reporting.html import _template_environment, format_percent, pluralize, render_page

TEMPLATES = sorted(Path(flowerml.__file__).parent.rglob("templates/*.j2"))


def rendered(value) -> str:
    return _template_environment().from_string('<a title="{{ value }}">{{ value }}</a>').render(value=value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<script>", "&lt;script&gt;"),
        ("\"quoted\" & 'so'", "&#34;quoted&#34; &amp; &#39;so&#39;"),
        ("gpj.\u202etricky", "gpj.\\u202etricky"),
        ("nul\0 and\nline", "nul\\x00 and\\nline"),
        ("undecodable\udce9", "undecodable\\udce9"),
        ("élan\u0301 → tulip", "élan\u0301 → tulip"),
        (Path("a<b>"), "a&lt;b&gt;"),
        (0.5, "0.5"),
    ],
)
def test_values_are_escaped_in_text_and_attributes(value, text):
    assert rendered(value) == f'<a title="{text}">{text}</a>'


def test_markup_stays_markup():
    assert rendered(Markup("&lt;\n")) == '<a title="&lt;\n">&lt;\n</a>'


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        render_page("errors.html.j2", title="t")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_never_switch_escaping_off_and_quote_every_attribute(path):
    text = path.read_text("utf-8")
    assert "safe" not in text
    assert "autoescape" not in text
    assert "={{" not in text
    assert "~ caller" not in text


def test_every_page_has_its_templates():
    names = {path.name for path in TEMPLATES}
    assert {"base.html.j2", "errors.html.j2", "data_check.html.j2", "report.html.j2", "comparison.html.j2"} <= names


def test_numbers_are_formatted_for_people():
    assert [format_percent(share) for share in (0.9714, 1.0, float("nan"))] == ["97.1%", "100.0%", "unknown"]
    assert [pluralize(number, "class", "classes") for number in (0, 1, 3881)] == [
        "0 classes",
        "1 class",
        "3,881 classes",
    ]
