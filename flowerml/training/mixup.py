"""Mixup and cutmix of a whole batch, before it is split into micro-batches."""

import torch
from torchvision.transforms import v2

from flowerml.data.inputs import Inputs
from flowerml.data.rng import seeded


class Mixer:
    """Mixes images and targets of a batch; with both alphas above 0, each batch draws one of the two at 50 %.

    Sources: mixup (Zhang et al. 2018), cutmix (Yun et al. 2019); torchvision's implementation.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        self._transforms: list[v2.Transform] = []
        if mixup > 0:
            self._transforms.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix > 0:
            self._transforms.append(v2.CutMix(alpha=cutmix, num_classes=classes))

    @property
    def mixes(self) -> bool:
        """Whether a batch is changed at all."""
        return bool(self._transforms)

    def __call__(self, inputs: Inputs, labels: torch.Tensor, *key: object) -> tuple[Inputs, torch.Tensor]:
        """Mix inputs (N, 3, S, S) and labels (N,) into inputs and soft targets (N, C); unchanged with both alphas at 0.

        Features (N, F) can be mixed too, by mixup only.

        `key`, (seed, epoch, step), seeds the draw.
        """
        if not self._transforms:
            return inputs, labels
        assert isinstance(inputs, torch.Tensor), "the settings refuse to mix inputs that are more than one image"
        with seeded("mix", *key):
            transform = self._transforms[int(torch.randint(len(self._transforms), ()))]
            as_images = inputs[..., None, None] if inputs.ndim == 2 else inputs  # torchvision mixes images only
            mixed, targets = transform(as_images, labels)
            return mixed.reshape(inputs.shape), targets
