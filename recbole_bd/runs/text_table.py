"""Plain-text tables."""

from collections.abc import Collection

from tabulate import tabulate


def epoch_text(epoch: int) -> str:
    """A best epoch as tables show it: from 0, or `start` for the state before the first one (-1)."""
    return "start" if epoch < 0 else str(epoch)


def grid(header: list[str], rows: list[list[str]], left: Collection[int] = (0, 1, 3)) -> str:
    """Format cells in columns under a ruled header; the spaces at the edges of a cell stay.

    Args:
        header, rows: cells.
        left: indices of left-aligned columns; the others hold numbers and are right-aligned.
    """
    sides = ["left" if column in left else "right" for column in range(len(header))]
    return tabulate(rows, header, "simple", disable_numparse=True, colalign=sides, preserve_whitespace=True)
