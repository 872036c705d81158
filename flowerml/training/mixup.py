"""Mixup and cutmix on the whole batch, drawn anew for each, the same for any split into micro-batches."""

import torch
from torchvision.transforms import v2

from flowerml.data.inputs import Inputs
from flowerml.data.rng import seeded


class Mixer:
    """Mixes pictures and targets of a batch; with both alphas above 0, each batch takes one of the two by a fair coin.

    Sources: mixup (Zhang et al. 2018), cutmix (Yun et al. 2019); torchvision's implementation.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        self._kinds: list[v2.Transform] = []
        if mixup > 0:
            self._kinds.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix > 0:
            self._kinds.append(v2.CutMix(alpha=cutmix, num_classes=classes))

    def __call__(self, inputs: Inputs, labels: torch.Tensor, *key: object) -> tuple[Inputs, torch.Tensor]:
        """Inputs (N, 3, S, S) and labels (N,) to mixed inputs and targets (N, C); unchanged, whatever they are, where
        neither is on.

        `key` decides the draw: (seed, epoch, step).
        """
        if not self._kinds:
            return inputs, labels
        assert isinstance(inputs, torch.Tensor), "the settings refuse to mix inputs that are more than one picture"
        with seeded("mix", *key):
            kind = self._kinds[int(torch.randint(len(self._kinds), ()))]
            mixed: tuple[torch.Tensor, torch.Tensor] = kind(inputs, labels)
            return mixed
