"""A rank of the toy's training (all CASES): python -m tests.training.distributed.rank_process RANK WORLD FOLDER."""

import io
import itertools
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from flowerml.errors import Stopped
from flowerml.runs.lifecycle.stop_request import StopRequest
from flowerml.training.distributed.ranks import Ranks, connect, disconnect
from flowerml.training.length.time_limit import TimeLimit
from tests.training.conftest import Toy, tiny_built

MIXED = {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1}
CASES = {
    "plain": {"epochs": 6},
    "mixed": {"epochs": 3, **MIXED},
    "in parts": {"epochs": 3, "accumulate": 3, **MIXED},
    "frozen first": {"epochs": 3, "freeze_backbone_epochs": 1},
    "plateau": {"epochs": 3, "scheduler": "plateau", "plateau_patience": 0, "monitor": "val_loss", "patience": 1},
    "dropout": {"epochs": 2, "dropout": 0.5},
    "batch norm": {"epochs": 2},
}
LIMITED = {"epochs": 40, "warmup_epochs": 4, "freeze_backbone_epochs": 4, "max_minutes": 1.0, **MIXED}
RANDOM, NORMALIZED = "dropout", "batch norm"  # each rank draws, and on a CPU normalizes, for its own share
STOP_AT = 6  # the step at which rank 1 is asked to stop


def run_case(case: str, ranks: Ranks, **more):
    """One case; the last batch of an epoch has three pictures, so that the ranks' shares differ."""
    built = normalized() if case == NORMALIZED else None
    trained = Toy().run(ranks=ranks, built=built, **{**CASES[case], **more})
    assert trained.outcome is not None
    best = trained.outcome.best
    return {
        "weights": trained.weights(),
        "metrics": trained.metrics(),
        "best": best.epoch,
        "ids": best.predictions.ids,
        "logits": torch.from_numpy(best.predictions.logits),
        "stop_cause": trained.outcome.stop_cause,
        "steps": 4 * len(trained.rows),
    }


def limited(ranks: Ranks):
    """A training with a time limit, by clocks that differ: a tick per look on rank 0, and a day on the others."""
    ticks = itertools.count()
    pace = 0.2 if ranks.rank == 0 else 86_400.0
    trained = Toy().run(ranks=ranks, time_limit=TimeLimit(60.0, lambda: pace * next(ticks)), **LIMITED)
    assert trained.outcome is not None
    assert trained.outcome.length is not None
    return {
        "weights": trained.weights(),
        "metrics": trained.metrics(),
        "stop_cause": trained.outcome.stop_cause,
        "length": trained.outcome.length.as_text(),
    }


def normalized():
    """The toy's classifier with a BatchNorm behind its convolution."""
    built = tiny_built()
    built.model.backbone[1] = nn.Sequential(nn.BatchNorm2d(8), nn.GELU())
    names = [name for name, _ in built.model.backbone.named_parameters()]
    return replace(built, layer_groups=[names])


def stop_and_resume(case: str, ranks: Ranks):
    """The case, but rank 1 is asked to stop in epoch 2, and all go on from the checkpoint of rank 0."""
    states, stop, steps = [], StopRequest(), []

    def on_state(progress, state):
        steps.append(progress)
        states.append(torch.load(_through_bytes(state), weights_only=True))
        if len(steps) == STOP_AT and ranks.rank == 1:
            stop.request("test")

    try:
        run_case(case, ranks, stop=stop, on_state=on_state, checkpoint_every_steps=1)
    except Stopped as stopped:
        reason = str(stopped)
    last = ranks.from_first(states[-1])
    return {
        **run_case(case, ranks, load_state=lambda: last),
        "reason": reason,
        "at": (steps[-1].epochs, steps[-1].steps),
    }


def _through_bytes(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), world)
    store.set_timeout(timedelta(seconds=120))
    ranks = connect(store, rank, world, torch.device("cpu"))
    results = {case: run_case(case, ranks) for case in CASES}
    results["resumed"] = {case: stop_and_resume(case, ranks) for case in (RANDOM, NORMALIZED)}
    results["limited"] = limited(ranks)
    torch.save(results, folder / f"rank{rank}.pt")
    disconnect()


if __name__ == "__main__":
    main()
