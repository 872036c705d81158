"""Relation by text: the packaged table `synonyms.csv`, or a file of the user in the same form."""

import csv
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path

from flowerml.data.relations.records import RELATIONS
from flowerml.data.table import parse_table
from flowerml.errors import UserError


class Vocabulary(StrEnum):
    """Which rows of the packaged table are used."""

    EXACT = "exact"  # the relation's own name, as the data sets spell it ("on the left of")
    SYNONYMS = "synonyms"  # also what people write for it ("on top of", "beneath", "beside")


def normalize_text(text: str) -> str:
    """Lower case, one space between words: the form in which names are compared."""
    return " ".join(text.lower().split())


def load_vocabulary(wording: Vocabulary = Vocabulary.EXACT, path: Path | None = None) -> Mapping[str, str]:
    """Relation by normalized text, from `synonyms.csv` of this package or from `path`.

    The columns are text, relation and, optionally, kind. `wording` selects rows by kind; a table without that column is
    used whole.

    Raises:
        UserError: the file can't be read, names a relation that is none of the ten, or maps one text to two.
    """
    source = path or Path("synonyms.csv")
    try:
        if path is None:
            text = (resources.files("flowerml.data.relations") / "synonyms.csv").read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8-sig")
        rows = parse_table(text, strict=True).rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source}: can't be read ({getattr(error, 'strerror', None) or error})") from error
    names: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        phrase, relation = row.get("text"), row.get("relation")
        if not phrase or not relation:
            raise UserError(f"{source}, line {line}: a text and a relation are needed (columns text,relation)")
        if relation not in RELATIONS:
            raise UserError(f"{source}, line {line}: {relation!r} is none of the ten relations: {', '.join(RELATIONS)}")
        if wording is Vocabulary.EXACT and row.get("kind") not in (None, "", "exact"):
            continue
        if names.setdefault(normalize_text(phrase), relation) != relation:
            raise UserError(
                f"{source}, line {line}: {phrase!r} is both {names[normalize_text(phrase)]!r} and {relation!r};"
                " keep one line"
            )
    if not names:
        raise UserError(f"{source}: no names in it (columns text,relation)")
    return names
