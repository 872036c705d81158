"""Reports and tables in a person's language: gettext, with the catalogues in `locale/`.

The English text is the key of its translation. Only what a person reads at the end is translated: headings, sentences
and tables of reports. Log lines, error messages, statuses, decision files, CSV, JSON and whatever goes to MLflow stay
English, so that programs and searches find the same words in every language; numbers keep the decimal point.

`tools/messages.py` finds the texts: calls of `gettext` and `ngettext` (`_` in templates), constants marked with `N_`,
and the titles of the shipped plans.
"""

import gettext
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "fr")
_LOCALE = Path(__file__).parent / "locale"


class Translation:
    """Texts in one language (a code of `LANGUAGES`); `separator` stands between the thousands of a number."""

    def __init__(self, language: str, catalogue: gettext.NullTranslations, separator: str) -> None:
        self.language = language
        self._catalogue = catalogue
        self._separator = separator

    def gettext(self, message: str, **values: object) -> str:
        """The translation of a message, with `values` in place of its `{names}`."""
        return self.translated(message).format(**values)

    def ngettext(self, singular: str, plural: str, number: int, **values: object) -> str:
        """As `gettext`, in the form that goes with a number, which is one of the values: `{number}`."""
        return self.plural_form(singular, plural, number).format(number=self.integer(number), **values)

    def translated(self, text: str) -> str:
        """The translation of a text that has no `{names}`, such as a plan's title; itself where there is none."""
        return self._catalogue.gettext(text) if text else ""  # gettext keeps its header under the empty text

    def plural_form(self, singular: str, plural: str, number: int) -> str:
        """The translated form that goes with a number, not filled in."""
        return self._catalogue.ngettext(singular, plural, number)

    def integer(self, number: int) -> str:
        """A whole number with its thousands apart."""
        return f"{number:,}".replace(",", self._separator)

    def percent(self, share: float, digits: int = 1) -> str:
        """A share (finite) as a percentage."""
        return self.gettext("{number}%", number=f"{share:.{digits}%}".removesuffix("%"))


ENGLISH = Translation("en", gettext.NullTranslations(), ",")


@cache
def translation(language: str) -> Translation:
    """The texts of a language. Raises FileNotFoundError for one that has no catalogue."""
    if language == ENGLISH.language:
        return ENGLISH
    return Translation(language, gettext.translation("flowerml", _LOCALE, [language]), "\u202f")


def N_(message: str) -> str:
    """Mark a constant for the catalogue; it is translated where it is shown."""
    return message
