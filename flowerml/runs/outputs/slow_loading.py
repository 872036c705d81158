"""Whether a run waits for its pictures: a metric, and a line that says what helps."""

import logging

from flowerml.data.image_cache.choice import OFF
from flowerml.runs.prepare import Prepared
from flowerml.settings import Family, Settings
from flowerml.settings.families.recipes import takes
from flowerml.training.performance.data_wait import DataWait

logger = logging.getLogger(__name__)

_WORTH_SAYING = 0.15  # of the time
_WORTH_SAYING_S = 5.0  # less can be the start of the loader processes


class SlowLoading:
    """Callback of the trainer; `metrics` has what was measured last."""

    def __init__(self, run: Prepared) -> None:
        self._run = run
        self._is_said = False
        self.metrics: dict[str, float] = {}

    def __call__(self, wait: DataWait) -> None:
        """Take the time that the epochs so far waited; say once what would shorten it, if it is long."""
        self.metrics = {"data_wait": wait.share}
        if self._is_said or wait.share < _WORTH_SAYING or wait.waited_s < _WORTH_SAYING_S:
            return
        self._is_said = True
        run = self._run
        what_helps = remedy(run.settings, run.spec.family, run.workers)
        logger.info(
            f"{wait.share:.0%} of the training's time is waiting for pictures: {what_helps} (docs/guides/own-photos.md)"
        )


def remedy(settings: Settings, family: Family, workers: int) -> str:
    """What is left to turn on."""
    faster = {
        "augment_backend": "--augment-backend opencv" if settings.augment_backend == "torchvision" else "",
        "cache_images": "--cache-images auto" if settings.cache_images == OFF else "",
    }
    flags = [flag for name, flag in faster.items() if flag and takes(name, family)]
    if flags:
        return f"{' '.join(flags)} loads them faster, and makes another config_id"
    return f"more --workers than {workers} load them faster, where there are cores for them"
