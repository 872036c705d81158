"""The catalogue: each text of the code has its translation, which fills in the same; the compiled file is current."""

import importlib.util
import re
import string
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from jinja2 import Environment

import flowerml.translation
from flowerml.translation import ENGLISH, LANGUAGES, translation

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "flowerml"
LOCALE = PACKAGE / "translation" / "locale"
SAME_IN_ALL = {"report.html.j2": {"sha"}}  # sha256
TRANSLATED = [
    path for path in sorted(PACKAGE.rglob("*.j2")) if re.search(r"\b(_|ngettext|translated)\(", path.read_text())
]


def load_tool():
    found = importlib.util.spec_from_file_location("messages_tool", ROOT / "tools" / "messages.py")
    tool = importlib.util.module_from_spec(found)
    sys.modules[found.name] = tool  # its dataclasses look themselves up there
    found.loader.exec_module(tool)
    return tool


TOOL = load_tool()
PO = LOCALE / "fr" / "LC_MESSAGES" / "flowerml.po"
FRENCH = TOOL.read_catalogue(PO.read_text("utf-8"))


@cache
def messages():
    """Every text of the code: it takes seconds, so that collecting must not need it."""
    return TOOL.find_messages()


def pairs():
    """Each English form with each French one that stands for it."""
    for message in messages():
        for number, form in enumerate(FRENCH.entries[message.text]):
            yield message.plural if number and message.plural else message.text, form


def test_every_text_of_the_code_is_translated_and_none_that_is_gone():
    assert len(messages()) > 150
    assert sorted(FRENCH.entries) == sorted(message.text for message in messages())
    assert [text for text, forms in FRENCH.entries.items() if not all(forms)] == []


def test_make_messages_would_write_these_files():
    assert TOOL.po_text(FRENCH, messages()) == PO.read_text("utf-8")
    assert TOOL.mo_bytes(FRENCH, messages()) == PO.with_suffix(".mo").read_bytes()


def test_the_tool_sees_a_text_wherever_it_can_stand(tmp_path):
    """In a call of a module and of a template, in a constant, and as the title of a plan."""
    assert list(TOOL._of_module('x = N_("a" " b")\ntexts.ngettext("c", "d", 2)\n_("e", f=1)\nother("g")')) == [
        ("a b", ""),
        ("c", "d"),
        ("e", ""),
    ]
    template = '{{ _("a" " b", c=1) }}{{ ngettext("d", "e", n, f=2) }}{{ other("g") }}'
    assert list(TOOL._of_template(template)) == [("a b", ""), ("d", "e")]
    assert list(TOOL._of_document("about: a\nphases: {B: {about: c}, D: {}}")) == [("a", ""), ("c", "")]
    known = TOOL.po_text(FRENCH, [TOOL.Message("new {x}", "", "file"), *messages()])
    assert TOOL.read_catalogue(known).entries["new {x}"] == ("",), "which the test above refuses"


def test_the_standard_library_reads_what_the_tool_wrote():
    texts = translation("fr")
    for message in messages():
        forms = FRENCH.entries[message.text]
        if message.plural:
            found = [texts.plural_form(message.text, message.plural, number) for number in (0, 1, 2)]
            assert found == [forms[0], forms[0], forms[1]], "zero is singular in French"
        else:
            assert texts.translated(message.text) == forms[0]


def fields(text):
    """What a format string fills in, with its format."""
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None)


def test_a_translation_fills_in_the_same_and_has_the_same_markup():
    for english, french in pairs():
        assert fields(french) == fields(english), english
        assert sorted(re.findall(r"<[^>]+>", french)) == sorted(re.findall(r"<[^>]+>", english)), english
        assert english[:1] != " " or french[:1].isspace(), english
        assert (english[-1:] == " ") == french[-1:].isspace(), english


def test_french_signs_have_their_no_break_space():
    """Before `: ; ? ! % »`, behind `«`: a line never begins with them."""
    wrong = r" [:;?!%»]|« |\w[;?!%»]|\w:\s"
    assert [french for _, french in pairs() if re.search(wrong, french)] == []


def own_words(template):
    """The words of a template that stand outside its expressions, but for tags and their attributes."""
    data = "".join(text if kind == "data" else "\0" for _, kind, text in Environment().lex(template))
    named = re.findall(r'(?:aria-label|alt|title)="([^"\0]+)', data)
    return set(re.findall(r"[^\W\d]{2,}", " ".join([*named, re.sub(r"(?s)<[^>]*>|&#?\w+;", " ", data)])))


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_translated_template_has_no_words_of_its_own(path):
    """A sentence outside `_` would stay English in every language."""
    assert own_words(path.read_text()) <= SAME_IN_ALL.get(path.name, set())


def test_words_of_a_template_are_found():
    """The test above rests on `own_words`."""
    assert own_words('<p class="note">{{ _("a text") }} over <b>{{ x }}</b></p>{# a comment #}') == {"over"}
    assert own_words('<nav aria-label="Contents"><i title="{{ x }}">{% if y == "no" %}&nbsp;{% endif %}') == {
        "Contents"
    }


def test_numbers_keep_the_decimal_point_and_have_their_thousands_apart():
    french = translation("fr")
    assert (ENGLISH.integer(1234567), french.integer(1234567)) == ("1,234,567", "1\u202f234\u202f567")
    assert (ENGLISH.percent(0.856), french.percent(0.856)) == ("85.6%", "85.6\u00a0%")
    assert french.percent(0.25, 0) == "25\u00a0%"
    assert french.ngettext("{number} epoch with seed {seed}", "{number} epochs with seed {seed}", 1500, seed=11) == (
        "1\u202f500 époques avec la seed 11"
    )


def test_a_title_of_a_user_stays_as_it_is():
    """It may have braces, and may be empty: gettext has its header under the empty text."""
    for texts in map(translation, LANGUAGES):
        assert texts.translated("") == ""
        assert texts.translated("{my} plan, 100 %") == "{my} plan, 100 %"


def test_each_language_has_its_catalogue_in_the_package():
    """What setuptools takes along: package data of `flowerml.translation`."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    here = Path(flowerml.translation.__file__).parent
    packed = {path.relative_to(here) for pattern in declared["flowerml.translation"] for path in here.glob(pattern)}
    for language in set(LANGUAGES) - {"en"}:
        assert Path("locale", language, "LC_MESSAGES", "flowerml.mo") in packed
    with pytest.raises(FileNotFoundError):
        translation("xx")
