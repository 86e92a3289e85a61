"""Order of the tests where pytest-xdist shares them out."""

from itertools import groupby

import pytest


def slow_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Put modules with slow tests at the beginnings of two halves, which is what two processes begin with.

    A process that has done its own takes over the latter half of what the other has left, so short tests come last.
    """
    modules = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    slow = [module for module in modules if any(item.get_closest_marker("slow") for item in module)]
    quick = [module for module in modules if module not in slow]
    first, second = slow[::2], slow[1::2]
    while quick:
        shorter = min(first, second, key=lambda half: sum(map(len, half)))
        shorter.append(quick.pop(0))
    return [item for half in (first, second) for module in half for item in module]
