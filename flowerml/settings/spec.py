"""The specification of one setting: default, limits, help text, and metadata about where it belongs."""

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

TASK, MODEL, RELATION, OPTIMISER, AUGMENT, BALANCE, STOPPING, RUN = (
    "data",
    "model",
    "relations of two boxed objects",
    "optimiser",
    "augmentation and regularisation",
    "class imbalance",
    "stopping and the best epoch",
    "the run itself",
)
RECIPE = "the family's recipe"


def setting(
    default: Any = ...,  # noqa: ANN401 - a default has its field's type
    *,
    group: str,
    about: str,
    unit: str = "",
    auto: str = "",
    allowed: str = "",
    identity: bool = True,
    late: bool = False,
    alike: tuple[str, ...] = (),
    **limits: Any,  # noqa: ANN401 - pydantic's ge, gt, le, lt, pattern
) -> Any:  # noqa: ANN401
    """Declare one setting.

    `about` is its help text and `unit` its unit; `auto` describes the value that replaces one left out, `allowed` the
    texts that are accepted. `identity`: whether it is part of `config_id`. A `late` setting was added after
    configurations had been named: at its default it is left out of the identity, so that older ids stay valid. Values
    that are `alike` give the same result: the first of them stands in the identity for all.
    """
    extra: JsonDict = {
        "group": group,
        "unit": unit,
        "auto": auto,
        "allowed": allowed,
        "identity": identity,
        "late": late,
        "alike": list(alike),
    }
    return Field(default, description=about, json_schema_extra=extra, **limits)


def metadata(field: FieldInfo, key: str) -> Any:  # noqa: ANN401 - text, or a bool for `identity`
    """One item of the metadata that `setting` attached to a field: group, unit, auto, allowed and so on."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra[key]
