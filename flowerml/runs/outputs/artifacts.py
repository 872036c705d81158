"""The artifacts in a run's folder. Each `write_…` function returns the paths of its files."""

import csv
import io
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from platform import platform, python_version

import numpy as np
import torch
from torch import nn

from flowerml.data.inputs import tensors_of
from flowerml.data.loader import Example, ExampleDataset, Transform, collate
from flowerml.errors import one_line
from flowerml.evaluation.calibration import energy_of
from flowerml.evaluation.metrics import Predictions, Scores
from flowerml.evaluation.pairs.pair_baselines import BaselineResult
from flowerml.files import write_bytes, write_json, write_text, write_with
from flowerml.optional_files import write_optional
from flowerml.prediction import load_network
from flowerml.reporting.errors_page import Mistake, errors_page
from flowerml.runs.outputs.mistake_maps import MistakeExplainer
from flowerml.runs.outputs.thumbnails import example_thumbnail
from flowerml.runs.prepare import Prepared
from flowerml.settings.identity import identity_values
from flowerml.tasks import Features, Task
from flowerml.text import csv_text, escape_markdown
from flowerml.training.callbacks import EpochMetrics, TrainingResult

_COLUMNS = (
    "epoch",
    "train_loss",
    "val_loss",
    "val_accuracy",
    "val_macro_f1",
    "val_mean_recall",
    "lr_head",
    "lr_backbone",
    "grad_norm",
    "images_per_second",
)
PROBES = 32


def write_start_files(run: Prepared) -> list[Path]:
    """Before training: `settings.json`, `split.json`, `balance.json`, `environment.txt`.

    And `checks.txt` and `bad_images.txt`, where there is something to report.
    """
    folder = run.folder
    settings = {
        "config_id": run.config_id,
        "settings": run.settings.model_dump(mode="json"),
        "identity": identity_values(run.settings, run.digests),
    }
    write_json(folder / "settings.json", settings)
    write_json(folder / "split.json", run.data.split.as_json())
    write_text(folder / "environment.txt", environment_text(run.device))
    write_json(folder / "balance.json", run.balance.as_json())
    names = ["settings.json", "split.json", "balance.json", "environment.txt"]
    if checks := run.task.describe_settings(run.built, run.settings, run.balance):
        write_text(folder / "checks.txt", "".join(f"{line}\n" for line in checks))
        names.append("checks.txt")
    if run.data.bad:
        write_text(
            folder / "bad_images.txt",
            "".join(f"{one_line(bad.file)}\t{one_line(bad.reason)}\n" for bad in run.data.bad),
        )
        names.append("bad_images.txt")
    return [folder / name for name in names]


def environment_text(device: torch.device) -> str:
    """Python, system, device and every installed distribution with its version."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    head = [
        f"python {python_version()}",
        f"system {platform()}",
        f"device {device}{gpu}",
        f"threads {torch.get_num_threads()}",
    ]
    return "\n".join([*head, "", *installed_packages()]) + "\n"


@cache
def installed_packages() -> tuple[str, ...]:
    """Every installed distribution with its version, cached for the process."""
    return tuple(sorted({_name_and_version(found) for found in metadata.distributions()}, key=str.lower))


def _name_and_version(found: metadata.Distribution) -> str:
    """`name==version`: by the first lines of a wheel's metadata, as parsing all of 240 packages takes 0.3 s."""
    head = (found.read_text("METADATA") or "").partition("\n\n")[0]
    fields = dict(line.split(": ", 1) for line in head.splitlines() if line.startswith(("Name: ", "Version: ")))
    if fields.keys() != {"Name", "Version"}:
        return f"{found.metadata['Name']}=={found.version}"  # an .egg-info
    return f"{fields['Name']}=={fields['Version']}"


def write_history(folder: Path, history: Sequence[EpochMetrics]) -> Path:
    """`history.csv`: a row per epoch, all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in history:
        writer.writerow([int(row["epoch"]), *(repr(row[name]) if name in row else "" for name in _COLUMNS[1:])])
    write_text(folder / "history.csv", text.getvalue())
    return folder / "history.csv"


def write_curves(run: Prepared, outcome: TrainingResult) -> Path:
    """`curves.png`."""
    # Matplotlib is imported after the training, which starts half a second sooner without.
    from flowerml.reporting.figures.curves import curves_figure
    from flowerml.reporting.figures.drawing import png_bytes

    best = outcome.best.epoch if outcome.best else None
    chance, best_accuracy = 1 / len(run.data.classes), max(row.get("val_accuracy", 0.0) for row in outcome.history)
    figure = curves_figure(
        outcome.history,
        best_epoch=best,
        lr_changes=outcome.cuts,
        freeze_epochs=run.settings.freeze_backbone_epochs,
        title=f"{run.settings.run_name}",
        headline=run.task.headline,
        chance=chance if best_accuracy < 3 * chance else None,  # a chance line far below would compress the curves
    )
    path = run.folder / "curves.png"
    write_bytes(path, png_bytes(figure))
    return path


def write_evaluation(
    folder: Path,
    title: str,
    predictions: Predictions,
    scores: Scores,
    task: Task,
    examples: Sequence[Example],
    explainer: MistakeExplainer | None = None,
) -> list[Path]:
    """`confusion_matrix.{png,json}`, `per_class.json`, `predictions.csv`, `errors.html` of evaluated examples.

    `explainer` adds heat maps of the surest mistakes. Only `predictions.csv`, which later commands read, must be there:
    others that can't be made are named in a warning.
    """
    write_text(folder / "predictions.csv", predictions_csv(predictions))
    matrix = scores.as_json()["confusion_matrix"]

    def write_figure(path: Path) -> None:
        from flowerml.reporting.figures.drawing import confusion_figure, png_bytes

        write_bytes(path, png_bytes(confusion_figure(scores.confusion, list(scores.classes), title)))

    optional: dict[str, Callable[[Path], None]] = {
        "confusion_matrix.json": lambda path: write_json(path, matrix),
        "confusion_matrix.png": write_figure,
        "per_class.json": lambda path: write_json(path, list(scores.per_class)),
        "errors.html": lambda path: write_text(path, _errors_html(title, predictions, task, examples, explainer)),
    }
    written = [folder / "predictions.csv"]
    for name, write in optional.items():
        if write_optional(folder / name, write):
            written.append(folder / name)
    return written


def write_baselines(folder: Path, baselines: Sequence[BaselineResult], name: str, scores: Scores) -> list[Path]:
    """`baselines.json` and `baselines.md`, a table whose last row is the run itself, `name`."""
    own = {
        "name": name,
        "accuracy": scores.accuracy,
        "accuracy_interval_95": list(scores.interval),
        "mean_recall": scores.mean_recall,
        "recalls": [row["recall"] if row["support"] else None for row in scores.per_class],
        "total": scores.total,
    }
    rows = [*(baseline.as_json() for baseline in baselines), own]
    write_json(folder / "baselines.json", {"classes": list(scores.classes), "rows": rows})
    head = f"| | accuracy | 95 % interval | mean recall | {' | '.join(map(escape_markdown, scores.classes))} |"
    lines = [head, f"|---|---:|---:|---:|{'---:|' * len(scores.classes)}"]
    for row in rows:
        low, high = row["accuracy_interval_95"]
        recalls = " | ".join("–" if value is None else f"{value:.2f}" for value in row["recalls"])
        lines.append(
            f"| {escape_markdown(row['name'])} | {row['accuracy']:.4f} | {low:.4f} to {high:.4f} |"
            f" {row['mean_recall']:.4f} | {recalls} |"
        )
    write_text(folder / "baselines.md", "\n".join(lines) + "\n")
    return [folder / "baselines.json", folder / "baselines.md"]


def predictions_csv(predictions: Predictions) -> str:
    """image, label, predicted, a probability per class (`p_<class>`), and the energy (`energy_of`)."""
    names = predictions.classes
    columns = zip(
        *(predictions.ids, predictions.labels, predictions.predicted, predictions.probabilities),
        energy_of(torch.from_numpy(predictions.logits)),
        strict=True,
    )
    rows = [
        [image, names[label], names[predicted], *(f"{share:.9g}" for share in shares), f"{energy:.9g}"]
        for image, label, predicted, shares, energy in columns
    ]
    return csv_text([["image", "label", "predicted", *(f"p_{name}" for name in names), "energy"], *rows])


def write_probe(
    folder: Path,
    examples: Sequence[Example],
    transform: Transform,
    features: Features | None = None,
    network: nn.Module | None = None,
) -> Path:
    """`probe.npz`: up to 32 preprocessed inputs (N, 3, S, S) and the logits (N, C) that `best.pth` gives on them, fp32
    on the CPU. `transform` is the task's for evaluation.

    Several inputs of a model are `inputs_0`, `inputs_1` and so on. The logits come from the file on disk through the
    public loader, so a best.pth that does not load fails here. `features` gives those of a backbone that was not
    trained, fp32 on the CPU: the head's logits on them are the model's, without the seconds of a pass. `network` is
    what the loader has made of the file already.
    """
    probed = ExampleDataset(examples[:PROBES], transform, 0)
    inputs, _, ids = collate([probed[0, index, 0] for index in range(len(probed))])
    with torch.inference_mode():
        network = network or load_network(folder / "best.pth")
        if features is None:
            logits = network(inputs).numpy()
        else:
            logits = network.get_submodule("head")(features(examples[:PROBES])).numpy()
    parts = tensors_of(inputs)
    arrays = {"inputs" if len(parts) == 1 else f"inputs_{index}": part.numpy() for index, part in enumerate(parts)}
    arrays |= {"logits": logits, "ids": np.array(ids)}
    path = folder / "probe.npz"

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)

    write_with(path, fill)
    return path


def _errors_html(
    title: str,
    predictions: Predictions,
    task: Task,
    examples: Sequence[Example],
    explainer: MistakeExplainer | None,
) -> str:
    by_id = {example.id: example for example in examples}
    names = predictions.classes
    rows = zip(predictions.ids, predictions.labels, predictions.predicted, predictions.probabilities, strict=True)
    mistakes = [
        Mistake(
            image=image,
            label=names[label],
            predicted=names[guess],
            p_label=float(shares[label]),
            p_predicted=float(shares[guess]),
        )
        for image, label, guess, shares in rows
        if label != guess
    ]

    return errors_page(
        mistakes,
        title=title,
        total=len(predictions.ids),
        thumbnail=lambda mistake: example_thumbnail(task, by_id[mistake.image]),
        overlays=None if explainer is None else partial(explainer.overlays, by_id=by_id),
    )
