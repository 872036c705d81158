"""Linear probes: loaders of features, and `best.pth` as a whole model although the head alone is trained.

While it trains, the best epoch's head is kept without the backbone, which never changes: an epoch on features takes
less time than writing the backbone of a large model, to `best.pth` and with each checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flowerml.data.features.loader import feature_evaluation_loader, feature_training_loader
from flowerml.data.loader import Loader
from flowerml.errors import LeaseLost, RunFailed
from flowerml.files import remove_file
from flowerml.runs.prepare import Prepared
from flowerml.runs.resume import checkpoints_of
from flowerml.tasks import Views
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint


def best_file(run: Prepared, views: Views) -> Path:
    """The file of the best epoch so far: `best.pth`, or the best head beside the checkpoints of a linear probe."""
    return run.folder / "best.pth" if views.features is None else checkpoints_of(run).best_head


@contextmanager
def best_as_whole_model(run: Prepared, views: Views) -> Iterator[None]:
    """Context of a training; after it, also after one that failed, `best.pth` is a whole model.

    Raises:
        UserError: it can't be written.
    """
    try:
        yield
    except LeaseLost:
        raise
    except RunFailed:
        _add_backbone(run, views)
        raise
    _add_backbone(run, views)


def _add_backbone(run: Prepared, views: Views) -> None:
    head = best_file(run, views)
    if views.features is None or not head.exists():
        return
    trained = load_checkpoint(head)
    backbone = {f"backbone.{name}": tensor for name, tensor in run.built.model.backbone.state_dict().items()}
    save_checkpoint(run.folder / "best.pth", replace(trained, state_dict={**backbone, **trained.state_dict}))
    remove_file(head)


def feature_loaders(run: Prepared, views: Views) -> tuple[Loader, Loader | None]:
    """The training loader and, unless nothing was held out, the validation loader, of the features of `views`."""
    assert views.features is not None
    size = run.settings.batch_size
    repeats = [run.balance.repeats[example.label] for example in views.train]
    train = feature_training_loader(
        views.features(views.train), views.train, batch_size=size, seed=run.settings.seed, repeats=repeats
    )
    if not views.val:
        return train, None
    return train, feature_evaluation_loader(views.features(views.val), views.val, batch_size=size)
