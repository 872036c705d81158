"""The recipe of each model family (what `auto` means), and the resolution of given values into complete settings."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.settings.declaration import AUTO, Settings, fields
from flowerml.settings.errors import first_error, flag_name, invalid_value
from flowerml.settings.families.model_catalog import Family, Library, ModelSpec, find_model
from flowerml.settings.families.probing import as_probe
from flowerml.settings.groups.model import LARGEST_IMAGE, SMALLEST_IMAGE
from flowerml.settings.serialization import as_text
from flowerml.settings.spec import RELATION, metadata

# Lengths within a run, which an override of `epochs` may leave too long.
EPOCH_COUNTS = ("warmup_epochs", "freeze_backbone_epochs", "unmixed_epochs")
_RECIPES: Mapping[Family, Mapping[str, Any]] = {
    Family.CNN: {
        "epochs": 45,
        "batch_size": 32,
        "lr_head": 1e-3,
        "lr_backbone": 2e-4,
        "weight_decay": 0.02,
        "warmup_epochs": 5,
        "label_smoothing": 0.05,
        "mixup": 0.2,
        "cutmix": 1.0,
        "randaugment": 9,
        "random_erasing": 0.1,
        "freeze_backbone_epochs": 3,
        "llrd": 1.0,
        "dropout": 0.0,
        "drop_path": 0.1,
    },
    Family.VIT: {
        "epochs": 30,
        "batch_size": 16,
        "lr_head": 1e-3,
        "lr_backbone": 1e-5,
        "weight_decay": 0.02,
        "warmup_epochs": 3,
        "label_smoothing": 0.05,
        "mixup": 0.1,
        "cutmix": 0.5,
        "randaugment": 7,
        "random_erasing": 0.1,
        "freeze_backbone_epochs": 8,
        "llrd": 0.85,
        "dropout": 0.0,
        "drop_path": 0.0,
    },
    # The backbone stays frozen for the whole run (see `resolve`), so lr_backbone has no effect.
    Family.RELATION: {
        "epochs": 50,
        "batch_size": 16,
        "lr_head": 1e-4,
        "lr_backbone": 1e-5,
        "weight_decay": 0.0,
        "warmup_epochs": 0,
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
        "randaugment": 0,
        "random_erasing": 0.0,
        "freeze_backbone_epochs": 50,
        "llrd": 1.0,
        "dropout": 0.3,
        "drop_path": 0.0,
    },
}
# Mixed pictures have no boxes, and augmentations that move pixels do not move the boxes.
_NOT_FOR_RELATIONS = ("mixup", "cutmix", "randaugment", "random_erasing")
_WHOLE_PICTURES_ONLY = (
    "head_init",
    "lora_rank",
    "freeze_views",
    "unmixed_epochs",
    "crop_scale",
    "color_jitter",
    "trivialaugment",
    "augment_backend",
    "cache_images",
    "cache_images_gb",
)
_SMALLEST_CONVNEXT = 32  # px: five halvings leave 1 x 1


def recipe_for(spec: ModelSpec) -> dict[str, Any]:
    """The defaults for settings left out. Stochastic depth only for models whose builder is known to support it."""
    values = {**_RECIPES[spec.family], "img_size": spec.img_size}
    if not spec.name.startswith("convnextv2_"):
        values["drop_path"] = 0.0
    return values


def family_recipes() -> dict[str, dict[str, Any]]:
    """The recipe of each family by name, for its flagship model."""
    return {
        spec.family.value: recipe_for(spec)
        for spec in map(find_model, ("convnextv2_large", "clip_vitl14", "relation_resnet50"))
    }


def takes(name: str, family: Family) -> bool:
    """Whether a setting may be given for models of a family."""
    return family is not Family.RELATION or name not in (*_NOT_FOR_RELATIONS, *_WHOLE_PICTURES_ONLY)


def resolve(requested: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Complete settings from the `requested` values, and warnings as text.

    Values may be text (from a command line) or typed; `auto` equals leaving a setting out. A freeze or warm-up that
    comes from the recipe is shortened to the run with a warning; one that was given is refused. RandAugment that comes
    from the recipe gives way to `trivialaugment`. For `probe`, see `probing.as_probe`.

    Raises:
        UserError: an unknown name, a value out of range, or settings that contradict each other.
    """
    given = {name: value for name, value in requested.items() if not _is_left_out(name, value)}
    spec = find_model(str(given.get("model", Settings.model_fields["model"].default)))
    try:
        settings = Settings.model_validate({**recipe_for(spec), **given})
    except ValidationError as error:
        raise UserError(first_error(error, given)) from None
    if spec.family is Family.RELATION and "freeze_backbone_epochs" not in given:
        settings = settings.replace(freeze_backbone_epochs=settings.epochs)
    if settings.trivialaugment and "randaugment" not in given:
        settings = settings.replace(randaugment=0)
    if settings.probe:
        settings = as_probe(settings, spec, given)
    warnings: list[str] = []
    for name in ("warmup_epochs", "freeze_backbone_epochs"):
        length = getattr(settings, name)
        if length > settings.epochs and name not in given:
            warnings.append(f"{name} {length} (recipe) is longer than the run: {settings.epochs} is used")
            settings = settings.replace(**{name: settings.epochs})
    check_combination(settings, spec)
    return settings, warnings


def _is_left_out(name: str, value: object) -> bool:
    """Whether a value says `auto`, and is not one of the setting's own that is called so (`cache_images`)."""
    return value == AUTO and (name not in fields() or AUTO not in get_args(fields()[name].annotation))


def resolve_setting(name: str, text: str | None) -> Any:  # noqa: ANN401 - of the setting's type
    """Resolve a single setting, for commands that take only some; None stays None. Raises UserError as `resolve`."""
    return None if text is None else getattr(resolve({name: text})[0], name)


def value_problem(name: str, value: Any) -> str | None:  # noqa: ANN401 - whatever stands in a file
    """Why a setting can't have this value, for a file that names settings without `--`; None where it can."""
    try:
        Settings.model_validate({**recipe_for(find_model("convnextv2_large")), name: value})
        if name == "model":
            find_model(value)
    except ValidationError:
        return invalid_value(name, value).replace(flag_name(name), name, 1)
    except UserError as error:
        return str(error).replace("--model", "model", 1)
    return None


def settings_from_json(values: Mapping[str, Any]) -> Settings:
    """Complete settings from a file: `model_dump(mode="json")` of this version or of an earlier one, which had fewer.

    Raises:
        UserError: one is unknown, missing or out of range.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"no settings but {values!r:.40}")
    # The seed has a default, but assuming it for a stored run would be a guess.
    unknown = sorted(map(str, values.keys() - fields().keys()))
    if unknown:
        raise UserError(f"setting {unknown[0]!r} is unknown")
    missing = [
        name for name, field in fields().items() if (field.is_required() or name == "seed") and name not in values
    ]
    if missing:
        raise UserError(f"setting {missing[0]!r} is missing")
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(first_error(error, values)) from None


def check_combination(settings: Settings, spec: ModelSpec) -> None:
    """Refuse settings that are valid one by one but not together.

    Raises:
        UserError: names both settings and both values.
    """
    for name in ("warmup_epochs", "freeze_backbone_epochs", "unmixed_epochs"):
        length = getattr(settings, name)
        if length > settings.epochs:
            raise UserError(
                f"{flag_name(name)} {length} is longer than the run (--epochs {settings.epochs}): lower it or"
                " train longer"
            )
    _check_family_settings(settings, spec)
    if settings.head_init == "text":
        _check_text_head(settings, spec)
    if settings.freeze_views and not settings.freeze_backbone_epochs:
        raise UserError(
            f"--freeze-views {settings.freeze_views} does not go with --freeze-backbone-epochs 0: no epoch trains the"
            " head alone. Leave out one of the two"
        )
    _check_folds(settings)
    if settings.lora_rank and settings.sam_rho:
        raise UserError(
            f"--lora-rank {settings.lora_rank} does not go with --sam-rho {settings.sam_rho:g}: SAM moves the matrices"
            " themselves. Leave out one of the two"
        )
    if settings.trivialaugment and settings.randaugment:
        raise UserError(
            f"--trivialaugment does not go with --randaugment {settings.randaugment}: it stands in its place. Leave out"
            " one of the two"
        )
    if settings.unmixed_epochs and not settings.mixup and not settings.cutmix:
        raise UserError(
            f"--unmixed-epochs {settings.unmixed_epochs} does not go with --mixup 0 and --cutmix 0: no epoch is mixed."
            " Leave it out, or mix the epochs before them"
        )
    if settings.stop_epoch is not None and settings.stop_epoch > settings.epochs:
        raise UserError(
            f"--stop-epoch {settings.stop_epoch} lies behind the schedule's end (--epochs {settings.epochs})"
        )
    _check_fitted_length(settings)
    if settings.gpus > 1:
        _check_several_gpus(settings)
    if settings.accumulate > settings.batch_size:
        raise UserError(
            f"--accumulate {settings.accumulate} is more than the --batch-size {settings.batch_size} it splits"
        )
    if settings.scheduler == "plateau" and settings.val_split == 0:
        raise UserError(
            "--scheduler plateau needs a validation loss, and --val-split is 0: use cosine or constant, or hold"
            " some out"
        )
    if spec.patch is not None and settings.img_size % spec.patch:
        below = settings.img_size // spec.patch * spec.patch
        near = " or ".join(str(size) for size in (below, below + spec.patch) if SMALLEST_IMAGE <= size <= LARGEST_IMAGE)
        raise UserError(
            f"--img-size {settings.img_size} does not fit {spec.name}: allowed are multiples of its patch {spec.patch},"
            f" like {near}"
        )
    if spec.name.startswith("convnextv2_") and settings.img_size < _SMALLEST_CONVNEXT:
        raise UserError(
            f"--img-size {settings.img_size} does not fit {spec.name}: it halves a picture five times, so allowed are "
            f"{_SMALLEST_CONVNEXT} px and more"
        )
    if settings.std is not None and min(settings.std) <= 0:
        raise UserError(f"--std {','.join(map(str, settings.std))}: every number must be above 0")


def _check_fitted_length(settings: Settings) -> None:
    """Refuse two lengths of one run."""
    lengths = {
        "max_minutes": f"--max-minutes {settings.max_minutes:g}" if settings.max_minutes else "",
        "fitted_steps": f"--fitted-steps {settings.fitted_steps}" if settings.fitted_steps != "none" else "",
        "stop_epoch": f"--stop-epoch {settings.stop_epoch}" if settings.stop_epoch is not None else "",
    }
    first, *others = [text for text in lengths.values() if text] or [""]
    if others:
        raise UserError(f"{first} does not go with {others[0]}: both say where the run ends. Leave out one of the two")


def _check_folds(settings: Settings) -> None:
    if settings.folds == 1:
        raise UserError("--folds is 1. Allowed: 0 for a single split, or 2 to 20")
    if settings.fold is not None and settings.fold > settings.folds:
        raise UserError(
            f"--fold {settings.fold} needs --folds {max(settings.fold, 2)} or more, and it is {settings.folds}"
        )
    if settings.folds and settings.val_split == 0:
        raise UserError(
            f"--folds {settings.folds} does not go with --val-split 0: each run holds out one fold. Leave out one of"
            " the two"
        )


def _check_text_head(settings: Settings, spec: ModelSpec) -> None:
    """Refuse what has no text tower, or does not start one head for all processes."""
    if spec.library is not Library.OPEN_CLIP:
        raise UserError(
            f"--head-init text: {spec.name} has no text tower. Allowed with it: open_clip models (clip_…,"
            " openclip:ARCH[/TAG]); or --head-init random"
        )
    if settings.weights == "none":
        raise UserError(
            "--head-init text does not go with --weights none: a random text tower says nothing about classes. Allowed:"
            " hub, or the PATH of a whole open_clip checkpoint"
        )
    if settings.gpus > 1:
        raise UserError(
            f"--head-init text does not go with --gpus {settings.gpus}: only the first process would start from the"
            " texts. Leave out one of the two"
        )


def _check_several_gpus(settings: Settings) -> None:
    """Refuse what does not go with several processes."""
    if settings.probe:
        raise UserError(
            f"--gpus {settings.gpus} does not go with --probe: a head alone trains in seconds. Leave out one of the two"
        )
    if settings.lora_rank:
        raise UserError(
            f"--gpus {settings.gpus} does not go with --lora-rank {settings.lora_rank}: processes exchange the"
            " gradients of whole matrices. Leave out one of the two"
        )
    if settings.device is not None and settings.device not in ("cpu", "cuda"):
        raise UserError(
            f"--gpus {settings.gpus} does not go with --device {settings.device}: each process takes a device of its"
            " own. Allowed with it: cuda, cpu"
        )


def _check_family_settings(settings: Settings, spec: ModelSpec) -> None:
    """Refuse settings that do not apply to the family of the model."""
    if spec.family is Family.RELATION:
        for name in _NOT_FOR_RELATIONS:
            if value := getattr(settings, name):
                raise UserError(
                    f"{flag_name(name)} {value}: not for pairs of boxed objects ({spec.name}): only --flip moves"
                    " picture and boxes together"
                )
        for name in _WHOLE_PICTURES_ONLY:
            if (value := getattr(settings, name)) != fields()[name].default:
                raise UserError(
                    f"{flag_name(name)} {as_text(value)}: only for whole pictures, and {spec.name} takes pairs of boxed"
                    " objects: leave it out"
                )
        return
    for name, field in fields().items():
        if metadata(field, "group") == RELATION and getattr(settings, name) != field.default:
            raise UserError(
                f"{flag_name(name)} is for pairs of boxed objects, and {spec.name} takes whole pictures: leave it out"
            )
