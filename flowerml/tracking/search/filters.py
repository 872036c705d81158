"""Build MLflow filter strings: the grammar has AND, but no OR, and no IN for tags."""

from collections.abc import Sequence
from itertools import product

from flowerml.errors import UserError
from flowerml.selection.records import Scope

Digests = tuple[str, str]  # data, split


def scope_filters(scope: Scope) -> list[str]:
    """One or more filters: a run is in the scope, its digests aside, if it meets any of them."""
    optional = {"family": scope.family, "campaign": scope.campaign}
    fixed = [tag_equals(tag, value) for tag, value in optional.items() if value is not None]
    phases: Sequence[str | None] = scope.phases if scope.phases is not None else (None,)
    return [
        " AND ".join([tag_equals("kind", kind), *fixed, *([] if phase is None else [tag_equals("phase", phase)])])
        for kind, phase in product(scope.kinds, phases)
    ]


def digest_prefix_filter(scope: Scope) -> str:
    """The filter for the digests given by their first characters; empty if none is given."""
    prefixes = {"data_digest": scope.data_digest, "split_digest": scope.split_digest}
    return " AND ".join(f"tags.`flowerml.{tag}` LIKE {_quote(f'{value}%')}" for tag, value in prefixes.items() if value)


def digests_filter(digests: Digests) -> str:
    """The filter for one pair of digests."""
    return f"{tag_equals('data_digest', digests[0])} AND {tag_equals('split_digest', digests[1])}"


def tag_exists(tag: str) -> str:
    """The filter for a non-empty tag `flowerml.<tag>`."""
    return f"tags.`flowerml.{tag}` LIKE '_%'"


def tag_equals(tag: str, value: str, comparator: str = "=") -> str:
    """The filter on a tag `flowerml.<tag>`; `!=` excludes runs without the tag.

    Raises:
        UserError: `value` has both kinds of quotes.
    """
    return f"tags.`flowerml.{tag}` {comparator} {_quote(value)}"


def _quote(value: str) -> str:
    """Quote a string for a filter, with the kind of quotes that it does not contain."""
    for quote in "'\"":
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError(f"{value!r} has both kinds of quotes: MLflow can't be asked for it")
