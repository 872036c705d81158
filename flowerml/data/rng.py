"""Random draws that depend on what they are for, not on who makes them or when: the same for any number of workers and
after a resume.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(*parts: object) -> int:
    """A 63-bit seed from the parts, by sha256: equal on every machine, and near parts give unrelated seeds."""
    text = "\t".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Inside, torch's CPU generator is seeded by the parts; afterwards it is as it was before."""
    state = torch.random.get_rng_state()
    torch.random.default_generator.manual_seed(seed_of(*parts))
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def permutation(count: int, *parts: object) -> list[int]:
    """A permutation of 0..count-1 that depends on the parts alone."""
    generator = torch.Generator().manual_seed(seed_of(*parts))
    return torch.randperm(count, generator=generator).tolist()
