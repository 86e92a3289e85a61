"""Runs whose pictures cost less than a quick run's training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

NAMES = ("curves.png", "wins.png", "discrepancy.png")
EMPTY = b"\x89PNG"


@contextmanager
def undrawn() -> Iterator[None]:
    """Put files that show nothing in place of the pictures at the end of a run."""
    from recbole_bd.runs import outputs

    def draw(folder, result, validations):
        paths = [Path(folder) / name for name in (NAMES if "teacher" in result else NAMES[:1])]
        for path in paths:
            path.write_bytes(EMPTY)
        return paths

    with patch.object(outputs, "plots", SimpleNamespace(draw=draw)):
        yield


@contextmanager
def unrasterised() -> Iterator[None]:
    """Make the figures of a run, but none of their pixels."""
    from matplotlib.figure import Figure

    from recbole_bd.runs import outputs, plots

    def draw(*arguments):
        with patch.object(Figure, "savefig", lambda figure, stream, **options: stream.write(EMPTY)):
            return plots.draw(*arguments)

    with patch.object(outputs, "plots", SimpleNamespace(draw=draw)):
        yield
