"""`freeze_views`: features for epochs with a frozen backbone, computed before the first one, and their loaders."""

from flowerml.data.features.loader import FeatureLoaders, feature_evaluation_loader, view_training_loader
from flowerml.data.loader import Loader, Share
from flowerml.runs.prepare import Prepared
from flowerml.tasks import FrozenFeatures, Views
from flowerml.training.checkpoints.progress import Progress


def frozen_features(run: Prepared, views: Views, start: Progress | None) -> FrozenFeatures | None:
    """The features; None for a run without, or one whose `start` is after the last epoch that takes them.

    Raises:
        RunFailed: an image can't be read any more.
        DataLoaderDied: a worker process died.
    """
    done = 0 if start is None else start.epochs
    if views.frozen_features is None or done >= run.settings.freeze_backbone_epochs:
        return None
    return views.frozen_features(_repeats(run, views))


def frozen_loaders(
    run: Prepared, views: Views, features: FrozenFeatures | None, images: Loader, share: Share
) -> FeatureLoaders | None:
    """Loaders of the features: the batches of `images`, the training loader, and this process's `share` of val."""
    if features is None:
        return None
    train = view_training_loader(features.views, views.train, repeats=_repeats(run, views), images=images)
    if features.val is None:
        return FeatureLoaders(train, None)
    own = share.of(len(views.val))
    val = feature_evaluation_loader(features.val[own], views.val[own], batch_size=run.settings.batch_size)
    return FeatureLoaders(train, val)


def _repeats(run: Prepared, views: Views) -> list[int]:
    return [run.balance.repeats[example.label] for example in views.train]
