"""What is asked of the tracking server, in the grammar of MLflow's filters: it knows AND, no OR, and no IN for tags."""

from collections.abc import Sequence
from itertools import product

from flowerml.errors import UserError
from flowerml.selection.records import Scope

Digests = tuple[str, str]  # data, split


def scope_filters(scope: Scope) -> list[str]:
    """One or more conditions: a run is in the scope, digests aside, where any of them holds."""
    always = {"family": scope.family, "campaign": scope.campaign}
    fixed = [tag_equals(tag, value) for tag, value in always.items() if value is not None]
    phases: Sequence[str | None] = scope.phases if scope.phases is not None else (None,)
    return [
        " AND ".join([tag_equals("kind", kind), *fixed, *([] if phase is None else [tag_equals("phase", phase)])])
        for kind, phase in product(scope.kinds, phases)
    ]


def digest_prefix_filter(scope: Scope) -> str:
    """The condition of the digests that were named by their first characters; empty for none."""
    asked = {"data_digest": scope.data_digest, "split_digest": scope.split_digest}
    return " AND ".join(f"tags.`flowerml.{tag}` LIKE {_quoted(f'{value}%')}" for tag, value in asked.items() if value)


def digests_filter(digests: Digests) -> str:
    """The condition of one pair of digests."""
    return f"{tag_equals('data_digest', digests[0])} AND {tag_equals('split_digest', digests[1])}"


def tag_exists(tag: str) -> str:
    """The condition of having a tag `flowerml.<tag>` that is not empty."""
    return f"tags.`flowerml.{tag}` LIKE '_%'"


def tag_equals(tag: str, value: str, comparator: str = "=") -> str:
    """The condition on a tag `flowerml.<tag>`; `!=` leaves out runs without the tag. Raises UserError for a text with
    both quotes.
    """
    return f"tags.`flowerml.{tag}` {comparator} {_quoted(value)}"


def _quoted(value: str) -> str:
    """A text as MLflow's filters take it: in quotes that are not in it."""
    for quote in "'\"":
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError(f"{value!r} has both kinds of quotes: MLflow can't be asked for it")
