"""Learning-rate schedules: linear warm-up, then cosine by step, constant, or cuts on a plateau."""

import math
from dataclasses import dataclass, field

COSINE_FLOOR = 1e-2  # the cosine ends at this multiple of each base rate


@dataclass(frozen=True)
class Schedule:
    """The factor on every base rate at each optimizer step.

    `kind` is cosine, constant or plateau (constant here: `Plateau` makes the cuts). `refits` are pairs (step, total):
    from that step on the run has so many steps, and what is left of the cosine is stretched or shortened to them.
    """

    kind: str
    total_steps: int
    warmup_steps: int
    refits: tuple[tuple[int, int], ...] = ()

    def factor(self, step: int) -> float:
        """The factor at a 0-based step: (step + 1) / warmup_steps, then a cosine to COSINE_FLOOR at the last step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.kind != "cosine":
            return 1.0
        progress = min(1.0, self._progress(step))
        return COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))

    def _progress(self, step: int) -> float:
        """How far the cosine is at a step: 0 where the warm-up ends, 1 at the last step."""
        start, done, end = self.warmup_steps, 0.0, self.total_steps - 1

        def at(step: int) -> float:
            return done + (1.0 - done) * (step - start) / max(1, end - start)

        for since, total in self.refits:
            if step < since:
                break
            turn = max(since - 1, self.warmup_steps)
            start, done, end = turn, at(turn), total - 1
        return at(step)


@dataclass
class Plateau:
    """Cuts all rates by `factor` after more than `patience` epochs without a lower validation loss.

    The rule of torch's ReduceLROnPlateau. `scale` multiplies the schedule's rates; `cuts` lists the epochs after which
    it fell. Its fields are written to checkpoints by name.
    """

    factor: float
    patience: int
    best: float = math.inf
    bad: int = 0
    scale: float = 1.0
    cuts: list[int] = field(default_factory=list)

    def observe(self, epoch: int, loss: float) -> None:
        """Update with the validation loss of an epoch (1-based)."""
        if loss < self.best * (1 - 1e-4):  # torch's default relative threshold
            self.best, self.bad = loss, 0
            return
        self.bad += 1
        if self.bad > self.patience:
            self.scale *= self.factor
            self.bad = 0
            self.cuts.append(epoch)
