"""Write docs/reference/settings.md from the declaration of the settings. Run by `make docs`; a test compares them."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pydantic.fields import FieldInfo

from flowerml.settings import Family, find_model, grid, grid_points, known_models
from flowerml.settings.declaration import fields
from flowerml.settings.errors import allowed_values, flag_name, type_name
from flowerml.settings.families.probing import PROBE_RECIPE
from flowerml.settings.families.recipes import family_recipes
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import RECIPE, metadata

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
_INTRODUCTION = """\
# Settings

<!-- Written by tools/settings_page.py from flowerml/settings/groups/: change that, then `make docs`. -->

Every setting of a training run, as `flowerml/settings/groups/` declares it once. The same name is a flag
(`--lr-head 1e-3`), a parameter of `mlflow run` (`-P lr_head=1e-3`), a key in a [plan](plans.md) and in a [file for
`--config`](../guides/repeat.md), an entry of `settings.json` and a param in MLflow.

- A setting left out, or given as `auto`, takes its default; *recipe* is the [recipe of the model's family](#recipes).
- Settings with a *yes* in the last column are part of the configuration's identity: two runs with the same values of
  all of them, the same data, split and starting weights have the same [`config_id`](glossary.md#config-id).
- A value of the wrong type or out of range stops the command with exit code 2 before anything is loaded.
- A `true`/`false` setting takes `--amp`, `--amp true`, `--amp false` and `--no-amp`.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION]
    for title, names in groupby(fields(), key=lambda name: str(metadata(fields()[name], "group"))):
        parts.append(_section(title, list(names)))
    parts += [_recipes(), _grids(), _models()]
    return "\n".join(parts)


def _section(title: str, names: list[str]) -> str:
    rows = [_row(name, fields()[name]) for name in names]
    head = ["| setting | meaning | values | default | id |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title[:1].upper()}{title[1:]}", "", *head, *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    unit = f" [{metadata(field, 'unit')}]" if metadata(field, "unit") else ""
    values = allowed_values(field)
    if type_name(field) == "true or false":
        values = "true, false"
    mark = "yes" if metadata(field, "identity") else ""
    meaning = f"{_cell(str(field.description))}{unit}"
    return f"| `{flag_name(name)}` | {meaning} | {_cell(values)} | {_default(name, field)} | {mark} |"


def _default(name: str, field: FieldInfo) -> str:
    automatic = str(metadata(field, "auto"))
    if automatic == RECIPE:
        return "[recipe](#recipes)"
    return _cell(automatic) or f"`{as_text(field.default)}`"


def _cell(text: str) -> str:
    """Text that may stand in a table: `<` and `*` would be read as markup, `|` as the end of the cell."""
    for char, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("*", r"\*"), ("|", r"\|")):
        text = text.replace(char, written)
    return text


def _recipes() -> str:
    recipes = family_recipes()
    lines = [f"| setting | {' | '.join(recipes)} |", f"|---|{'---|' * len(recipes)}"]
    for name in (name for name, field in fields().items() if metadata(field, "auto") == RECIPE):
        values = " | ".join(f"`{as_text(recipe[name])}`" for recipe in recipes.values())
        lines.append(f"| `{flag_name(name)}` | {values} |")
    about = (
        "The values of settings that are left out, by the family of the model. A freeze or warm-up from the recipe is\n"
        "shortened, with a warning, where the run is shorter; one that was given is refused there. A backbone of\n"
        "family `relation` stays frozen for the whole run unless `--freeze-backbone-epochs` says otherwise.\n\n"
        f"With `--probe`, {_probe_recipe()};\n"
        "settings of the backbone and of the augmentation are off, and giving one that contradicts it is an error."
    )
    return "\n".join(["## Recipes", "", about, "", *lines, ""])


def _probe_recipe() -> str:
    values = ", ".join(f"`{flag_name(name)}` is `{as_text(value)}`" for name, value in PROBE_RECIPE.items())
    return f"where they are left out, {values}"


def _grids() -> str:
    lines = ["| family | setting | values |", "|---|---|---|"]
    lines += [f"| `{family}` | `{flag_name(name)}` | {values} |" for family, name, values in _grid_values()]
    points = ", ".join(f"{len(grid_points(family))} for `{family}`" for family in Family if grid(family))
    about = (
        f"The points that a sweep with `--space grid` tries ({points}). A plan with a value off\n"
        "the grid gets a warning. With `--probe` both families have the grid of linear probes, of"
        f" {len(grid_points(Family.CNN, probe=True))} points."
    )
    return "\n".join(["## Grids", "", about, "", *lines, ""])


def _grid_values() -> Iterator[tuple[str, str, str]]:
    for family in Family:
        for name, values in grid(family).items():
            yield family.value, name, ", ".join(f"`{as_text(value)}`" for value in values)
    for name, values in grid(Family.CNN, probe=True).items():
        yield "--probe", name, ", ".join(f"`{as_text(value)}`" for value in values)


def _models() -> str:
    lines = ["| `--model` | family | image size [px] | patch [px] | weights of the hub |", "|---|---|---|---|---|"]
    for name in known_models():
        spec = find_model(name)
        hub = f"`{spec.hub}`" if spec.hub else "none"
        lines.append(f"| `{name}` | {spec.family} | {spec.img_size} | {spec.patch or ''} | {hub} |")
    about = (
        "Names of the catalogue. Besides these, `timm:NAME[.TAG]` takes any model of timm, `openclip:ARCH[/TAG]` any\n"
        "image tower of open_clip, and `relation:timm:NAME[.TAG]` any timm backbone for pairs of boxed objects. The\n"
        "image size of a model with a patch must be a multiple of the patch. The default is\n"
        f"`{fields()['model'].default}`."
    )
    return "\n".join(["## Models", "", about, "", *lines, ""])


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
