"""States of the global random generators of Python, NumPy and torch, as plain data; the seed of a split."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of the global generators, including each CUDA device's once CUDA is initialised."""
    version, words, gauss = random.getstate()
    name, keys, *rest = cast(tuple, np.random.get_state(legacy=True))
    state: dict[str, Any] = {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states that `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def seeded(*seeds: int) -> Iterator[None]:
    """Seed the global generators within the scope, and restore their states at its end.

    Args:
        seeds: numbers of at least 0, which together give the seed.
    """
    before = random_state()
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if "cuda" in before:
        torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        set_random_state(before)


def seed_of_split(settings: Mapping[str, Any]) -> Any:
    """Return the seed of a random split and of its candidates: `split_seed` where it is given, else `seed`.

    Args:
        settings: of a run of this package, or RecBole's in a foreign file, which may lack both.
    """
    given = settings.get("split_seed")
    return settings.get("seed") if given is None else given
