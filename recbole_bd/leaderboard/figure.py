"""A leaderboard as a picture that reads in grey: a line per row, mean, standard deviation and seeds."""

import io

from recbole_bd.leaderboard.tables import FULL, Board

# Blue and orange of Okabe and Ito differ in lightness too; markers distinguish them in print.
_STYLES = {FULL: ("#0072B2", "s", "full size"), "student": ("#D55E00", "o", "student")}


def picture(board: Board) -> bytes:
    """The selecting metric of every row that finished, as PNG; the same bytes for the same runs.

    Args:
        board: a leaderboard.
    """
    # Avoid pyplot, which would change the backend of a notebook.
    from matplotlib.figure import Figure

    metric = board.valid_metric
    rows = [row for row in board.rows if row.runs]
    figure = Figure(figsize=(8, 1.6 + 0.36 * max(len(rows), 1)), layout="constrained")
    axis = figure.subplots()
    named = set()
    for place, row in enumerate(rows):
        colour, marker, title = _STYLES[row.size]
        cell = row.cells[metric]
        values = list(cell.values.values())
        if len(values) > 1:
            axis.plot(values, [place] * len(values), linestyle="", marker="|", markersize=9, color="0.45", zorder=2)
        axis.errorbar(
            cell.mean, place, xerr=cell.std or None, marker=marker, markersize=7 if cell.best else 6, color=colour,
            markerfacecolor=colour if cell.best else "white", markeredgewidth=1.6, capsize=3, linewidth=1.4, zorder=3,
            label=None if title in named else title,
        )  # fmt: skip
        named.add(title)
    sizes = [row.size for row in rows]
    for place in range(1, len(rows)):
        if sizes[place] != sizes[place - 1]:
            axis.axhline(place - 0.5, color="0.7", linewidth=0.8)
    # Escape dollar signs: names come from run folders and hold no formulas.
    axis.set_yticks(range(len(rows)), [row.name.replace("$", r"\$") for row in rows])
    axis.invert_yaxis()
    axis.grid(axis="x", color="0.88", linewidth=0.8)
    axis.set_axisbelow(True)
    many = len(board.seeds) > 1
    spread = f"mean ± standard deviation of {len(board.seeds)} seeds, | one seed" if many else "one seed"
    axis.set_xlabel(f"test {metric} ({spread}; filled: best of its size)")
    axis.set_title(f"{board.dataset}".replace("$", r"\$"))
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if len(named) > 1:
        axis.legend(frameon=False, loc="best")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()
