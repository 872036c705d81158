"""The weights of the best epoch: where a training keeps them, and `best.pth` after it.

The backbone of a linear probe never changes, so while it trains only the best head is kept, beside the checkpoints: an
epoch on features takes less time than writing the backbone of a large model. The trials of a sweep share one file with
the backbone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import nn

from flowerml.errors import LeaseLost, RunFailed
from flowerml.evaluation.calibration import Calibration
from flowerml.files import remove_file
from flowerml.models import frozen_backbones
from flowerml.runs.prepare import Prepared
from flowerml.runs.resume import checkpoints_of
from flowerml.tasks import Views
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from flowerml.training.checkpoints.shared_backbone import SharedBackbone, share_backbone
from flowerml.training.checkpoints.weights_digest import weights_digest


def best_file(run: Prepared, views: Views) -> Path:
    """The file of the best epoch so far: `best.pth`, or the best head beside the checkpoints of a linear probe."""
    return run.folder / "best.pth" if views.features is None else checkpoints_of(run).best_head


@contextmanager
def best_kept_of_failed(run: Prepared, views: Views) -> Iterator[None]:
    """Context of a training: after one that failed, `best.pth` is a whole model, where an epoch was evaluated.

    Raises:
        UserError: it can't be written.
    """
    try:
        yield
    except LeaseLost:
        raise
    except RunFailed:
        if best_file(run, views).exists():
            BestWeights(run, views).write()
        raise


class BestWeights:
    """The best weights of a training that has ended: changed in memory, then written to `best.pth` once."""

    def __init__(self, run: Prepared, views: Views) -> None:
        self.path = run.folder / "best.pth"
        self._run = run
        kept = best_file(run, views)
        self._head = kept if kept != self.path and kept.exists() else None
        self._changed = self._head is not None

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The whole model, with the changes made here. Raises UserError: the file can't be read."""
        if self._head is None:
            return load_checkpoint(self.path)
        trained = load_checkpoint(self._head)
        backbone = {f"backbone.{name}": tensor for name, tensor in self._run.built.model.backbone.state_dict().items()}
        return replace(trained, state_dict={**backbone, **trained.state_dict}, origin=str(self.path))

    def set_metrics(self, metrics: Mapping[str, float]) -> None:
        """Replace the metrics of the epoch, in memory. Raises as `checkpoint`."""
        self.checkpoint, self._changed = replace(self.checkpoint, metrics=metrics), True

    def set_calibration(self, calibration: Calibration) -> None:
        """Replace the calibration, in memory. Raises as `checkpoint`."""
        self.checkpoint, self._changed = replace(self.checkpoint, calibration=calibration), True

    def write(self) -> None:
        """Make `best.pth` this checkpoint, if it isn't yet. Raises UserError: it can't be read or written."""
        if self._changed:
            folder, backbone = self._run.shared_backbone, None
            if folder is not None and self._head is not None:
                backbone = _shared(folder, self._run.built.model.backbone)
            save_checkpoint(self.path, self.checkpoint, backbone)
            self._changed = False
        if self._head is not None:
            remove_file(self._head)
            self._head = None


def _shared(folder: Path, backbone: nn.Module) -> SharedBackbone:
    state = backbone.state_dict()
    digest = frozen_backbones.remember(backbone, "weights_digest", lambda: weights_digest(state))
    return share_backbone(folder, state, digest)
