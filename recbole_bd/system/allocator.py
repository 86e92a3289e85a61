"""Memory that the C library keeps for the next step."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# Parameters of glibc's `mallopt`, by its header.
_TRIM_THRESHOLD, _MAPPED_THRESHOLD, _MOST_MAPPED = -1, -3, -4
_NEVER = -1
# glibc raises its thresholds to these by itself where a program frees large blocks.
_LARGEST_THRESHOLDS = {_MAPPED_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_MAPPED_BLOCKS = 65_536


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Scope in which freed blocks stay with the process.

    Every step of training allocates tables of the same sizes again. glibc returns large blocks to the system, so their
    pages fault anew in every step, which takes a tenth of the time of CDAE's epoch. After the scope, glibc returns
    memory as it does by default. Without glibc on Linux, nothing changes.
    """
    set_parameter = _mallopt()
    if set_parameter is None:
        yield
        return
    set_parameter(_MOST_MAPPED, 0)
    set_parameter(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        set_parameter(_MOST_MAPPED, _MAPPED_BLOCKS)
        for parameter, value in _LARGEST_THRESHOLDS.items():
            set_parameter(parameter, value)


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's function, if this process has it."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
