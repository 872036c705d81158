"""The data loaders of a run."""

from flowerml.data.features.loader import feature_evaluation_loader, feature_training_loader
from flowerml.data.image_cache.choice import DISK, OFF
from flowerml.data.loader import Loader, Share, evaluation_loader, training_loader
from flowerml.runs.prepare import Prepared
from flowerml.tasks import Views


def make_views(run: Prepared) -> Views:
    """What the loaders read; may cache what is the same in every epoch. Raises UserError."""
    settings = run.settings
    if settings.gpus > 1 and settings.cache_images != OFF:
        settings = settings.replace(cache_images=DISK)  # which processes share; in memory each would have its own
    return run.task.views(run.built, settings, run.data, run.device, run.workers)


def make_loaders(run: Prepared, views: Views, share: Share) -> tuple[Loader, Loader | None]:
    """The training loader and, unless nothing was held out, the validation loader, of this process's `share`."""
    if views.features is not None:
        return _feature_loaders(run, views)
    size, pin, workers = run.settings.batch_size, run.device.type == "cuda", views.workers
    repeats = [run.balance.repeats[example.label] for example in views.train]
    train_loader = training_loader(
        views.train,
        views.train_transform,
        batch_size=size,
        workers=workers,
        seed=run.settings.seed,
        repeats=repeats,
        pin=pin,
        smallest_batch=run.smallest_batch,
        share=share,
    )
    if not views.val:
        return train_loader, None
    own = views.val[share.of(len(views.val))]
    return train_loader, evaluation_loader(own, views.eval_transform, batch_size=size, workers=workers, pin=pin)


def _feature_loaders(run: Prepared, views: Views) -> tuple[Loader, Loader | None]:
    """`make_loaders` of a linear probe: of the features of `views`."""
    assert views.features is not None
    size = run.settings.batch_size
    repeats = [run.balance.repeats[example.label] for example in views.train]
    train = feature_training_loader(
        views.features(views.train), views.train, batch_size=size, seed=run.settings.seed, repeats=repeats
    )
    if not views.val:
        return train, None
    return train, feature_evaluation_loader(views.features(views.val), views.val, batch_size=size)
