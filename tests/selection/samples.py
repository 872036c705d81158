"""Runs made up for the selection's tests: 100 pictures, split `s`, configuration `a` unless said otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flowerml.selection.candidates import Configuration
from flowerml.selection.decision import Decision, make_decision
from flowerml.selection.intervals import RESAMPLES
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import CandidateRun, PictureResults, Scope

TOTAL = 100
THREE = Scope(seeds=(11, 23, 47))


def run(config: str = "a", seed: int = 11, hits: int | None = 90, f1: float | None = 0.5, **other: Any) -> CandidateRun:
    values: dict[str, Any] = {
        "run_id": f"id-{config}-{seed}",
        "run_name": f"{config}-s{seed}",
        "config_id": config,
        "seed": seed,
        "status": "FINISHED",
        "kind": "train",
        "family": "cnn",
        "classes": 5,
        "data_digest": "data-one",
        "split_digest": "split-one",
        "started": 1000,
        "accuracy": None if hits is None else hits / TOTAL,
        "macro_f1": f1,
        "hits": hits,
        "total": TOTAL,
        "model": "net",
        **other,
    }
    return CandidateRun(**values)


def configuration(config: str, *hits: int, f1: float = 0.5, **other: Any) -> Configuration:
    """One with seeds 11, 23, 47, ... and these hits."""
    seeds = (11, 23, 47, 51, 52)
    return Configuration(
        config, tuple(run(config, seed, count, f1, **other) for seed, count in zip(seeds, hits, strict=False))
    )


def results(right: np.ndarray, prefix: str = "rose/") -> PictureResults:
    return PictureResults(
        tuple(f"{prefix}{place:04d}.jpg" for place in range(len(right))), np.asarray(right, dtype=bool)
    )


def judged(config: str, seed: int, right: np.ndarray, **other: Any) -> tuple[CandidateRun, PictureResults]:
    """A run and what it got right, in agreement."""
    hits = int(right.sum())
    one = run(config, seed, hits, accuracy=hits / len(right), total=len(right), **other)
    return one, results(right)


def decide(
    runs: Sequence[CandidateRun],
    scope: Scope,
    results: Mapping[str, PictureResults] | None = None,
    resamples: int = RESAMPLES,
) -> Decision:
    """Rank the runs and decide."""
    return make_decision(rank_runs(runs, scope), results, resamples)


SEEDS = (11, 23, 47)


Fetched = tuple[list[CandidateRun], dict[str, PictureResults]]


def drawn(
    accuracies: dict[str, float], seeds: tuple[int, ...] = SEEDS, pictures: int = 776, **other: object
) -> Fetched:
    """Runs with per-picture results: hard pictures are hard for all, the rest is chance."""
    generator = np.random.default_rng(2)
    ease = generator.random(pictures)
    runs, fetched = [], {}
    for config, accuracy in accuracies.items():
        for seed in seeds:
            right = 0.8 * ease + 0.2 * generator.random(pictures) > np.quantile(ease, 1 - accuracy)
            one, result = judged(config, seed, right, **other)
            runs.append(one)
            fetched[one.run_id] = result
    return runs, fetched
