"""Runs whose pictures have no pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch


@contextmanager
def unrasterised() -> Iterator[None]:
    """Leave the pictures at the end of a run without pixels: their text takes longer than a quick run's training."""
    from matplotlib.figure import Figure

    from recbole_bd.runs import outputs, plots

    def draw(*arguments):
        with patch.object(Figure, "savefig", lambda figure, stream, **options: stream.write(b"\x89PNG")):
            return plots.draw(*arguments)

    with patch.object(outputs, "plots", SimpleNamespace(draw=draw)):
        yield
