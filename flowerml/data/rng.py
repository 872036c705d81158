"""Random numbers keyed by their purpose, such as (seed, epoch, id): independent of workers and resumes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the parts by sha256: equal on every machine; similar parts give unrelated seeds."""
    text = "\t".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Context in which torch's CPU generator is seeded by the parts; its state is restored afterwards."""
    state = torch.random.get_rng_state()
    torch.random.default_generator.manual_seed(derive_seed(*parts))
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def permutation(count: int, *parts: object) -> list[int]:
    """A permutation of 0..count-1 that depends only on the parts."""
    generator = torch.Generator().manual_seed(derive_seed(*parts))
    return torch.randperm(count, generator=generator).tolist()
