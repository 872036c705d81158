"""Check files in other formats against the run, each in a fresh process with its own runtime; time them in turns."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowerml.delivery.formats import fresh_process
from flowerml.delivery.formats.convert import Converted
from flowerml.delivery.formats.request import FULL_PRECISION, Format
from flowerml.delivery.verify import (
    LABEL_TOLERANCE,
    LOGIT_TOLERANCE,
    Expected,
    RecordedPhoto,
    load_probe,
    recorded_photos,
)
from flowerml.errors import UserError
from flowerml.evaluation.paired_gain import PairedGain, paired_gain
from flowerml.training.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

BATCHES = (1, 16)
ROUNDS = 5
_PAUSE_S = 0.02  # threads of the runtime measured before spin for a while


@dataclass(frozen=True)
class FormatCheck:
    """The result for one file.

    `logit_difference` is the largest one on the probe, `probe_labels` the number of its `probe_inputs` whose label
    changed; both None without a probe. Of `photos` validation photos `photo_labels` have another label than the run
    recorded. `gain` is the change in accuracy from the fp32 file to an int8 one (None for others, and where no photos
    are at hand). `ms` is milliseconds per picture by batch size.
    """

    file: str
    format: str
    precision: str
    bytes: int
    logit_difference: float | None
    probe_labels: int | None
    probe_inputs: int
    photos: int
    photo_labels: int
    gain: PairedGain | None
    ms: Mapping[int, float]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What was found, as plain values."""
        return {
            "logit_difference": self.logit_difference,
            "probe_inputs": self.probe_inputs,
            "probe_labels_changed": self.probe_labels,
            "photos": self.photos,
            "photo_labels_changed": self.photo_labels,
            "accuracy_change": None if self.gain is None else self.gain.as_json(),
            "ms_per_picture": {str(batch): round(value, 2) for batch, value in self.ms.items()},
        }


class FormatProcess:
    """A fresh process that has loaded one file; `answer` is what it said of the probe and of the photos."""

    def __init__(self, process: subprocess.Popen[str], file: str) -> None:
        self._process, self._file = process, file
        self.answer: dict[str, Any] = json.loads(self._read())

    def seconds(self, batch: int) -> float:
        """The seconds of one batch. Raises UserError where the process has ended."""
        assert self._process.stdin is not None
        try:
            print(batch, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return float(self._read())
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise UserError(
                f"{self._file}: the process that checks it ended with exit code {code}; what it said stands above"
            )
        return line


@contextmanager
def format_process(
    folder: Path, file: str, kind: str, inputs: Path, photos: Sequence[Path] = ()
) -> Iterator[FormatProcess]:
    """Context in which a process has loaded `file` of `folder`, in the format `kind` ("pth": the weights themselves).

    Raises:
        UserError: it fails.
    """
    request = {"folder": str(folder.resolve()), "file": file, "format": kind, "inputs": str(inputs)}
    path = inputs.with_name(f"{file}.request.json")
    path.write_text(json.dumps({**request, "photos": [str(photo) for photo in photos]}), "utf-8")
    # -I: imports come from installed packages or the delivered folder only; -B: no __pycache__ in that folder.
    command = [sys.executable, "-I", "-B", "-W", "ignore", str(fresh_process.__file__), str(path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HF_"))}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=inputs.parent, env=environment, **pipes) as process:
        try:
            yield FormatProcess(process, file)
        finally:
            process.kill()


def check_formats(
    folder: Path,
    weights: str,
    converted: Sequence[Converted],
    checkpoint: Checkpoint,
    expected: Expected,
    *,
    rounds: int = ROUNDS,
) -> list[FormatCheck]:
    """Check the files made from `weights`, all in `folder`; the first result is that of `weights`, for its speed.

    Speed is the best of `rounds`.

    Raises:
        UserError: a process failed, or a recorded file can't be read.
    """
    inputs, logits = load_probe(expected.probe)
    size = checkpoint.description.size
    if inputs is None:
        inputs = np.random.default_rng(0).standard_normal((2, 3, size, size), dtype=np.float32)
    recorded = recorded_photos(expected, checkpoint.classes)
    names = [one.files[0].name for one in converted]
    kinds = [str(one.format) for one in converted]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        path = Path(scratch) / "inputs.npy"
        np.save(path, inputs)
        processes = {}
        for name, kind in zip([weights, *names], ["pth", *kinds], strict=True):
            photos = [photo.path for photo in recorded] if kind == Format.ONNX else []
            processes[name] = stack.enter_context(format_process(folder, name, kind, path, photos))
        ms = time_formats(processes, rounds)
        answers = {name: process.answer for name, process in processes.items()}
    reference = FormatCheck(
        weights, "pth", FULL_PRECISION, (folder / weights).stat().st_size, *_compare(answers[weights], logits), 0, 0,
        None, ms[weights],
    )  # fmt: skip
    plain = next((one.files[0].name for one in converted if one.format is Format.ONNX), None)
    before = answers[plain]["labels"] if plain else []
    return [
        reference,
        *(_check(one, folder, answers, logits, recorded, before, ms[one.files[0].name]) for one in converted),
    ]


def time_formats(processes: Mapping[str, FormatProcess], rounds: int) -> dict[str, dict[int, float]]:
    """Milliseconds per picture by name and batch size: the least of `rounds`, in each of which all are timed.

    Other programs only ever add to a figure.
    """
    result: dict[str, dict[int, float]] = {name: {} for name in processes}
    for batch in BATCHES:
        seconds: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(rounds + 1):
            for name, process in processes.items():
                seconds[name].append(process.seconds(batch))
                time.sleep(_PAUSE_S)
        for name, values in seconds.items():
            result[name][batch] = 1e3 * min(values[1:]) / batch  # the first allocates
    return result


def _compare(answer: Mapping[str, Any], logits: np.ndarray | None) -> tuple[float | None, int | None, int]:
    """The largest difference of a logit on the probe, the number of labels that change, and of inputs."""
    if logits is None:
        return None, None, 0
    found = np.array(answer["logits"])
    return float(np.abs(found - logits).max()), int((found.argmax(axis=1) != logits.argmax(axis=1)).sum()), len(found)


def _check(
    one: Converted,
    folder: Path,
    answers: Mapping[str, Mapping[str, Any]],
    logits: np.ndarray | None,
    recorded: Sequence[RecordedPhoto],
    before: Sequence[str | None],
    ms: Mapping[int, float],
) -> FormatCheck:
    name, exact = one.files[0].name, one.precision == FULL_PRECISION
    difference, changed, count = _compare(answers[name], logits)
    problems, remarks = [], []
    if not np.isfinite(answers[name]["logits"]).all():
        problems.append("its logits are no numbers")
    elif difference is not None and exact and not difference <= LOGIT_TOLERANCE:
        problems.append(
            f"its logits differ by {difference:.2e} from those of the run's probe.npz (allowed: {LOGIT_TOLERANCE:.0e})"
        )
    if difference is None:
        remarks.append("the run left no probe.npz: its logits could not be compared")
    labels = answers[name]["labels"]
    pairs = [(photo.predicted, label) for photo, label in zip(recorded, labels, strict=False) if label is not None]
    other = sum(expected != label for expected, label in pairs)
    if exact and other > LABEL_TOLERANCE * len(pairs):
        problems.append(f"{other} of {len(pairs)} labels differ from predictions.csv (allowed: {LABEL_TOLERANCE:.1%})")
    gain = None
    if not exact:
        gain = _accuracy_change(one, recorded, before, labels)
        remarks += int8_remarks(name, gain)
    return FormatCheck(
        name,
        str(one.format),
        one.precision,
        sum((folder / path.name).stat().st_size for path in one.files),
        difference,
        changed,
        count,
        len(pairs),
        other,
        gain,
        ms,
        tuple(problems),
        tuple(remarks),
    )


def int8_remarks(name: str, gain: PairedGain | None) -> list[str]:
    """What has to be said of the accuracy of an int8 file: that it was not measured, or that it is lower."""
    if gain is None:
        return [
            f"{name}: the validation photos are not at hand (--train-dir names their folder): its accuracy was not"
            " compared"
        ]
    if gain.shown and gain.gain < 0:
        return [
            f"warning: {name} is right less often than the fp32 file ({gain.before:.4f} -> {gain.after:.4f} on"
            f" {gain.pictures} photos, more than chance): deliver that one, or try the other kind of --int8"
        ]
    return []


def _accuracy_change(
    one: Converted, recorded: Sequence[RecordedPhoto], before: Sequence[str | None], after: Sequence[str | None]
) -> PairedGain | None:
    """From the labels before to those after, on the photos that did not set the ranges; None where there are none."""
    rows = [
        (first == photo.label, second == photo.label)
        for photo, first, second in zip(recorded, before, after, strict=True)
        if first is not None and second is not None and photo.image not in one.calibrated_on
    ]
    if not rows:
        return None
    right = np.array(rows)
    return paired_gain(right[:, 0], right[:, 1])
