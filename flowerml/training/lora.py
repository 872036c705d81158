"""LoRA: each matrix of the backbone is its start plus a product of two narrow ones, and only these are trained.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1, with the scale 1 (alpha equal to the
rank). The product is added to the model's own weights after every step, so that the model, its average and its files
are those of any other training. The gradient of a matrix is turned into those of its two factors as soon as it is
there, and dropped. The library for this, peft, would bring transformers, which open_clip imports wherever it is
installed: seconds at the start of every command.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from flowerml.data.rng import derive_seed


def adapted_matrices(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices that are adapted, by name: weights of linear layers, and attention's queries, keys and values."""
    found: dict[str, nn.Parameter] = {}
    for prefix, module in backbone.named_modules():
        names = {nn.Linear: "weight", nn.MultiheadAttention: "in_proj_weight"}
        for kind, name in names.items():
            parameter = getattr(module, name, None) if isinstance(module, kind) else None
            if isinstance(parameter, nn.Parameter):
                found[f"{prefix}.{name}"] = parameter
    return found


class LowRankUpdates:
    """The factors of all adapted matrices of a backbone, and the matrices they started from.

    Of a matrix (O, I): `down` (R, I), random, and `up` (O, R), zero at the start. All other parameters of the backbone
    stay as they are. `seed` is the run's.
    """

    def __init__(self, backbone: nn.Module, rank: int, seed: int) -> None:
        self._matrices = adapted_matrices(backbone)
        self._start = {name: matrix.detach().clone() for name, matrix in self._matrices.items()}
        generator = torch.Generator().manual_seed(derive_seed(seed, "lora"))
        self._factors: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        for name, matrix in self._matrices.items():
            rows, columns = matrix.shape
            bound = 1 / math.sqrt(columns)  # as in the authors' code: Kaiming's, with a = sqrt(5)
            down = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
            up = torch.zeros(rows, rank)
            self._factors[name] = nn.Parameter(down.to(matrix)), nn.Parameter(up.to(matrix))
            matrix.register_post_accumulate_grad_hook(self._make_hook(name))
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(name in self._matrices)

    @property
    def factors(self) -> Mapping[str, tuple[nn.Parameter, nn.Parameter]]:
        """`down` and `up` of each adapted matrix, by its name in the backbone."""
        return self._factors

    @property
    def trained(self) -> int:
        """How many numbers are trained in place of the backbone's."""
        return sum(factor.numel() for pair in self._factors.values() for factor in pair)

    @torch.no_grad()
    def apply(self) -> None:
        """Give each matrix the value of its start plus the product of its factors; on the device, no sync point."""
        for name in self._matrices:
            self._apply(name)

    @torch.no_grad()
    def apply_step(self) -> None:
        """`apply` after an optimizer step: where that had a gradient, so nothing while the backbone is frozen."""
        for name, (_, up) in self._factors.items():
            if up.grad is not None:
                self._apply(name)

    def _apply(self, name: str) -> None:
        down, up = self._factors[name]
        self._matrices[name].copy_(torch.addmm(self._start[name], up, down))

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """The factors by name. Tensors are those in use, not copies."""
        return {name: [down.detach(), up.detach()] for name, (down, up) in self._factors.items()}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, list[torch.Tensor]]) -> None:
        """Load factors and apply them."""
        for name, (down, up) in self._factors.items():
            down.copy_(state_dict[name][0])
            up.copy_(state_dict[name][1])
        self.apply()

    def _make_hook(self, name: str) -> Callable[[torch.Tensor], None]:
        down, up = self._factors[name]

        @torch.no_grad()
        def hook(matrix: torch.Tensor) -> None:
            gradient = matrix.grad
            assert gradient is not None
            for factor, of_factor in ((down, up.T @ gradient), (up, gradient @ down.T)):
                factor.grad = of_factor if factor.grad is None else factor.grad.add_(of_factor)
            matrix.grad = None

        return hook
