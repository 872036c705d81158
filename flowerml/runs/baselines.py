"""Compare a run with the simple models that its task fits on the same examples."""

import logging
import re
from pathlib import Path

from flowerml.evaluation.metrics import Scores
from flowerml.events import Metrics, Recorder, Tags
from flowerml.runs.outputs.artifacts import write_baselines
from flowerml.runs.prepare import Prepared
from flowerml.tasks import Views

logger = logging.getLogger(__name__)


def record_baselines(run: Prepared, recorder: Recorder, views: Views, scores: Scores) -> list[Path]:
    """Fit the task's baselines on the same examples; log, record and write their scores. Returns the files."""
    results = run.task.fit_baselines(run.built, run.settings, run.data, views, run.device, run.workers)
    if not results:
        return []
    logger.info(
        "\n".join(["", "baselines on the same validation examples:", *(f"  {result.line()}" for result in results)])
    )
    metrics: dict[str, float] = {}
    for result in results:
        name = "_".join(re.findall(r"[a-z]+", result.name))
        metrics |= {f"baseline_{name}_accuracy": result.accuracy, f"baseline_{name}_mean_recall": result.mean_recall}
    recorder.record(Metrics(metrics))
    best = max(results, key=lambda result: (result.mean_recall, result.accuracy))
    beats_all = all(scores.accuracy > result.accuracy and scores.mean_recall > result.mean_recall for result in results)
    recorder.record(Tags({"flowerml.best_baseline": best.line(), "flowerml.beats_baselines": str(beats_all).lower()}))
    return write_baselines(run.folder, results, str(run.settings.run_name), scores)
