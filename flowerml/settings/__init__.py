"""Settings of a run: declared once, validated, resolved, identified. Imports neither torch nor MLflow."""

from flowerml.settings.declaration import Settings
from flowerml.settings.families.grids import grid, grid_points
from flowerml.settings.families.model_catalog import Family, Library, ModelSpec, find_model, known_models
from flowerml.settings.families.recipes import resolve, resolve_setting, settings_from_json
from flowerml.settings.identity import Digests, config_id

__all__ = [
    "Digests",
    "Family",
    "Library",
    "ModelSpec",
    "Settings",
    "config_id",
    "find_model",
    "grid",
    "grid_points",
    "known_models",
    "resolve",
    "resolve_setting",
    "settings_from_json",
]
