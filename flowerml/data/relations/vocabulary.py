"""Which texts mean which of the ten relations: a table in a file, the packaged one or the user's own."""

import csv
import io
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path

from flowerml.data.relations.records import RELATIONS
from flowerml.errors import UserError


class Vocabulary(StrEnum):
    """How far the packaged table goes."""

    EXACT = "exact"  # the relation's own name, as the data sets spell it ("on the left of")
    SYNONYMS = "synonyms"  # also what people write for it ("on top of", "beneath", "beside")


def normal(text: str) -> str:
    """The text as names are compared: lower case, one blank between words."""
    return " ".join(text.lower().split())


def load_vocabulary(wording: Vocabulary = Vocabulary.EXACT, path: Path | None = None) -> Mapping[str, str]:
    """Relation by normal text, from `synonyms.csv` of this package or from a file of the same form (columns text,
    relation; kind if any).

    `wording` chooses among the packaged lines; of a user's file without a column `kind` every line is taken.

    Raises:
        UserError: the file can't be read, names a relation that is none of the ten, or one text twice.
    """
    place = path or Path("synonyms.csv")
    try:
        if path is None:
            text = (resources.files("flowerml.data.relations") / "synonyms.csv").read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{place}: can't be read ({getattr(error, 'strerror', None) or error})") from error
    names: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        said, relation = row.get("text"), row.get("relation")
        if not said or not relation:
            raise UserError(f"{place}, line {line}: a text and a relation are needed (columns text,relation)")
        if relation not in RELATIONS:
            raise UserError(f"{place}, line {line}: {relation!r} is none of the ten relations: {', '.join(RELATIONS)}")
        if wording is Vocabulary.EXACT and row.get("kind") not in (None, "", "exact"):
            continue
        if names.setdefault(normal(said), relation) != relation:
            raise UserError(
                f"{place}, line {line}: {said!r} is both {names[normal(said)]!r} and {relation!r}; keep one line"
            )
    if not names:
        raise UserError(f"{place}: no names in it (columns text,relation)")
    return names
