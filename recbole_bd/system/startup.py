"""Start of a command: imports that take less time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and RecBole without garbage collection, which finds nothing there and takes a fifth of the time.

    Later collections skip all objects that exist at the end. In a program that has imported torch before, such as a
    notebook, these objects may be the program's own: there nothing is done.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
