"""NumPy without AVX-512, on processors where its sorts are slow with it."""

import os
import sys
from collections.abc import MutableMapping
from itertools import takewhile
from pathlib import Path

# NumPy's names of AVX-512, of version 2.4 and of earlier ones; it ignores those that it does not have.
_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"
_DISABLED = "NPY_DISABLE_CPU_FEATURES"
_CPU_INFO = Path("/proc/cpuinfo")


def avoid_slow_sorts(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let NumPy sort without AVX-512 where that is faster: on AMD's Zen 4, which stores compressed vectors slowly.

    Sorts take a quarter of the time then, and partitions a tenth. Nothing happens once NumPy is imported, as it reads
    the environment then; nor where the user has chosen features; nor outside Linux. Child processes inherit the choice.

    Args:
        environment: changed in place.
    """
    if "numpy" not in sys.modules and _DISABLED not in environment and _is_zen_4():
        environment[_DISABLED] = _AVX512


def _is_zen_4() -> bool:
    """Whether this is AMD's family 25 with AVX-512; Zen 3 is of that family too, and has none."""
    try:
        with _CPU_INFO.open(encoding="utf-8") as stream:
            first = [*takewhile(str.strip, stream)]  # the lines of the first of many processors
    except OSError:
        return False
    facts = {key.strip(): value.split() for key, _, value in (line.partition(":") for line in first)}
    return (
        facts.get("vendor_id") == ["AuthenticAMD"]
        and facts.get("cpu family") == ["25"]
        and "avx512f" in facts.get("flags", ())
    )
