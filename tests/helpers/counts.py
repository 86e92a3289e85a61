"""Counts that are printed after the tests."""

from collections import Counter

import pytest

COUNTS = pytest.StashKey[Counter]()


def tally(config: pytest.Config, name: str, count: int = 1) -> None:
    """Add to one of the counts printed after the tests: how many faults, flips or kills they made, and what came."""
    config.stash.setdefault(COUNTS, Counter())[name] += count
