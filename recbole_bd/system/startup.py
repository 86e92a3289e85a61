"""Start of a command: imports that take less time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from recbole_bd import compat

# Whether this process is a command that has just started. In a program that has imported torch before, such as a
# notebook, the objects that exist may be the program's own.
_IS_FRESH = "torch" not in sys.modules


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and RecBole without garbage collection, which finds nothing there and takes a fifth of the time.

    In a command that has just started, later collections skip all objects that exist at the end. What RecBole and
    torch import and seldom call is left out until it is called.
    """
    if _IS_FRESH:
        compat.import_on_demand()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _IS_FRESH:
            gc.freeze()
        if was_enabled:
            gc.enable()
