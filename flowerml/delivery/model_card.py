"""`MODEL_CARD.md`: what a delivery holds, how it was made, how good it is and where that ends.

The form is that of the Hugging Face Hub (Mitchell et al., "Model cards for model reporting", FAT* 2019): its metadata
as YAML, then Markdown.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowerml.delivery.formats.report import format_section
from flowerml.delivery.robustness_result import RobustnessResult, robustness_section
from flowerml.evaluation.metrics import MANY_CLASSES, wilson_interval
from flowerml.evaluation.prediction_table import PredictionTable
from flowerml.evaluation.tta import NO_VIEWS
from flowerml.settings import find_model
from flowerml.settings.declaration import fields
from flowerml.settings.families.model_catalog import Library
from flowerml.settings.serialization import as_text
from flowerml.text import escape_markdown

NAME = "MODEL_CARD.md"
_WORST = 20  # classes that stand in the card where there are many
_RECIPE = (
    *("epochs", "batch_size", "optimizer", "lr_head", "lr_backbone", "weight_decay", "label_smoothing", "mixup"),
    *("cutmix", "randaugment", "random_erasing", "ema", "freeze_backbone_epochs", "llrd", "class_weights"),
)
# Of the recipe too, and in the card where they are not at their defaults.
_OPTIONAL_RECIPE = ("crop_scale", "color_jitter", "trivialaugment", "unmixed_epochs", "sam_rho", "lora_rank")


def model_card(
    entries: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, PredictionTable],
    robustness: Mapping[str, RobustnessResult] | None = None,
    formats: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The card of the weights files `entries` (manifest entries by file name).

    `settings` are those they were trained with, `predictions` those of their validation photos, and `robustness` what
    was measured of each, as far as they are at hand. `formats` are the entries of files in other formats.
    """
    parts = [
        _metadata(entries, settings),
        "# Flower classifiers" if len(entries) > 1 else "# Flower classifier",
        _use(),
    ]
    for name in sorted(entries):
        parts.append("\n".join(_file(name, entries[name], settings.get(name, {}), predictions.get(name))))
        parts.append("\n".join(robustness_section((robustness or {}).get(name))))
        if other := "\n".join(format_section(name, formats or {})):
            parts.append(other)
    return "\n\n".join([*parts, _limits()]) + "\n"


def _metadata(entries: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Mapping[str, Any]]) -> str:
    from huggingface_hub import EvalResult, ModelCardData  # a second of imports

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name="validation photos (held out from the training folder)",
            metric_type="accuracy",
            metric_name=f"accuracy of {name}",
            metric_value=round(float(entry["metrics"]["val_accuracy"]), 4),
        )
        for name, entry in sorted(entries.items())
        if "val_accuracy" in entry["metrics"]
    ]
    licenses = {_license(entry, settings.get(name, {})) for name, entry in entries.items()}
    data = ModelCardData(
        license=licenses.pop() if len(licenses) == 1 and "" not in licenses else "other",
        library_name="flowerml",
        pipeline_tag="image-classification",
        tags=["image-classification", "pytorch", *sorted({str(entry["model"]) for entry in entries.values()})],
        model_name="flowers" if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _license(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The licence of timm's published weights, where training started from them; "" for others, or where unknown."""
    import timm

    library, _, architecture = str(entry["architecture"]).partition(":")
    if library != Library.TIMM or settings.get("weights") != "hub":
        return ""
    try:
        hub = find_model(str(entry["model"])).hub
        found = timm.get_pretrained_cfg(f"{architecture}.{hub}" if hub else architecture, allow_unregistered=False)
    except (RuntimeError, ValueError, KeyError):
        return ""
    return str(getattr(found, "license", "") or "")


def _start(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """What weights training started from, and their licence."""
    start = settings.get("weights")
    if start in (None, "none"):
        return "" if start is None else "random weights"
    published = "the published weights of the architecture" if start == "hub" else f"the file {start}"
    return f"{published}; their licence: {_license(entry, settings) or 'not known here, look it up'}"


def _use() -> str:
    return """## Use

```python
from flowers_classifier import load_model, predict, predict_proba

model = load_model("FILE.pth")  # one of the files below, beside flowers_classifier.py
predict(model, "photo.jpg")
```

On the CPU or a GPU, without a network. Intended for photos of the classes below; nothing in a weights file is executed.
MANIFEST.json has the sha256 of each file. An .onnx file is used in the same way with flowers_classifier_onnx.py, where
there is one: it needs onnxruntime, and no torch."""


def _file(
    name: str, entry: Mapping[str, Any], settings: Mapping[str, Any], predictions: PredictionTable | None
) -> Iterator[str]:
    size = entry["input"]["size"]
    yield f"## {name}\n"
    yield "| | |\n|---|---|"
    held_out = [str(settings[key]) for key in ("seed", "split_seed", "val_split") if key in settings]
    rows = {
        "model": f"{entry['model']} ({entry['architecture']}), {entry['parameters']:,} parameters",
        "stored as": str(entry["precision"]),
        "input": f"{size} x {size} px, {entry['input']['interpolation']}",
        "classes": _class_names(entry["classes"]),
        "started from": _start(entry, settings),
        "MLflow run": str(entry.get("run_id") or "none"),
        "registered as": f"{entry['registered_model']}, version {entry['version']}" if "version" in entry else "",
        "campaign": str(entry.get("campaign", "")),
        "probabilities": _calibrated(entry),
        "test-time views": _views(entry),
        "trained with": ", ".join(_trained_with(settings)),
        "seed, split seed, share held out": ", ".join(held_out),
    }
    yield from (f"| {key} | {escape_markdown(value)} |" for key, value in rows.items() if value)
    yield ""
    yield from _results(entry, predictions)


def _trained_with(settings: Mapping[str, Any]) -> Iterator[str]:
    """The recipe's settings with their values."""
    yield from (f"{key} {settings[key]}" for key in _RECIPE if key in settings)
    for key in _OPTIONAL_RECIPE:
        if key in settings and str(settings[key]).lower() != as_text(fields()[key].default):
            yield f"{key} {settings[key]}"


def _class_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MANY_CLASSES])
    more = len(names) - MANY_CLASSES
    return f"{listed} and {more:,} more: all are in MANIFEST.json" if more > 0 else listed


def _calibrated(entry: Mapping[str, Any]) -> str:
    temperature = entry.get("calibration_temperature")
    if temperature is None:
        return "softmax, not calibrated"
    source = "" if "val_accuracy" in entry["metrics"] else " (by the held-out photos of its configuration's runs)"
    return f"calibrated, temperature {temperature:.3f}{source}"


def _views(entry: Mapping[str, Any]) -> str:
    """The views that predictions are the mean of, and what they change; "" for one view."""
    tta, gain = entry.get("tta", NO_VIEWS), entry.get("tta_gain")
    if tta == NO_VIEWS:
        return ""
    if gain is None:
        return f"{tta}, applied in every prediction; the figures below are without them"
    low, high = gain["interval_95"]["low"], gain["interval_95"]["high"]
    shown = "" if gain["shown"] else ": not shown"
    return (
        f"{tta}, applied in every prediction; the figures below are without them, with them the validation accuracy"
        f" changes by {gain['gain']:+.4f} (95 % interval {low:+.4f} to {high:+.4f}{shown})"
    )


def _results(entry: Mapping[str, Any], predictions: PredictionTable | None) -> Iterator[str]:
    metrics = entry["metrics"]
    if "val_accuracy" not in metrics:
        yield "Trained on all photos: none were held out, so this file itself has no accuracy. Its configuration was"
        yield "chosen by runs with held-out photos, which stand in MLflow."
        return
    if predictions is None:
        yield f"Validation accuracy {metrics['val_accuracy']:.4f}, macro-F1 {metrics['val_macro_f1']:.4f}."
        return
    right = predictions.predicted == predictions.labels
    low, high = wilson_interval(int(right.sum()), len(right))
    yield (
        f"Validation accuracy **{right.mean():.4f}** ({int(right.sum())} of {len(right)}; 95 % interval {low:.4f} to"
        f" {high:.4f}).\n"
    )
    rows = []
    for index, name in enumerate(predictions.classes):
        own = right[predictions.labels == index]
        if len(own):
            low, high = wilson_interval(int(own.sum()), len(own))
            line = f"| {escape_markdown(name)} | {own.mean():.4f} | {low:.4f} to {high:.4f} | {len(own)} |"
            rows.append((float(own.mean()), line))
    if len(rows) > MANY_CLASSES:
        yield f"The {_WORST} classes with the lowest recall, of {len(rows):,}:\n"
        rows = sorted(rows)[:_WORST]
    yield "| class | recall | 95 % interval | n |\n|---|---:|---:|---:|"
    yield from (line for _, line in rows)


def _limits() -> str:
    return """## Limits

- The figures are of photos held out from the same folder, on which the best epoch was also chosen: for photos of other
  sources they are too good.
- Every picture gets one of the classes, also one that shows none of them, unless `predict(…, unknown=True)` is asked
  for: that finds pictures of other things better than flowers of other kinds.
- Calibration holds for photos like the validation photos.
- Not measured here: corrupted photos where no table above has them, and differences between regions or varieties."""
