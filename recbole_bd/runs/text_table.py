"""Plain-text tables."""

from collections.abc import Collection


def grid(header: list[str], rows: list[list[str]], left: Collection[int] = (0, 1, 3)) -> str:
    """Format cells in columns under a ruled header.

    Args:
        header, rows: cells.
        left: indices of left-aligned columns; the others hold numbers and are right-aligned.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(padded).rstrip()

    rule = "-" * len(line(header))
    return "\n".join([line(header), rule, *map(line, rows)])
