"""The picture of a leaderboard."""

import pytest
from matplotlib.figure import Figure

from recbole_bd.leaderboard.figure import front, parameters_picture, picture
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import write_board, write_run


def test_the_picture_is_the_same_for_the_same_runs(tmp_path):
    write_board(tmp_path)
    write_run(tmp_path, "Cost $x_1$", 1, {"model/separate": 0.2})
    for draw in (picture, parameters_picture):
        first = draw(judge(build(runs_below(tmp_path))))
        assert first.startswith(b"\x89PNG")
        assert first == draw(judge(build(runs_below(tmp_path))))


def test_a_board_on_which_nothing_has_finished_has_an_empty_picture(failed_board):
    for draw in (picture, parameters_picture):
        assert draw(failed_board).startswith(b"\x89PNG")


def test_rows_are_drawn_at_their_means_with_their_seeds(board, monkeypatch):
    axis = drawn_by(picture, board, monkeypatch)
    rows = [row for row in board.rows if row.runs]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [row.name for row in rows]
    seeds = [sorted(line.get_xdata()) for line in axis.lines if line.get_marker() == "|" and line.get_color() == "0.45"]
    assert seeds == [sorted(row.cells["ndcg@5"].values.values()) for row in rows]
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in axis.lines if line.get_marker() in ("s", "o")}
    assert means == {place: row.cells["ndcg@5"].mean for place, row in enumerate(rows)}
    filled = {
        line.get_ydata()[0]
        for line in axis.lines
        if line.get_marker() in ("s", "o") and line.get_markerfacecolor() != "white"
    }
    assert filled == {place for place, row in enumerate(rows) if row.cells["ndcg@5"].best}
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["full size", "student"]


def drawn_by(draw, board, monkeypatch):
    """The axis that a picture of a board draws."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    draw(board)
    (axis,) = figures[0].axes
    return axis


def test_quality_stands_against_parameters_and_the_front_is_named(board, monkeypatch):
    axis = drawn_by(parameters_picture, board, monkeypatch)
    points = {
        (x, round(y, 6))
        for line in axis.lines
        if line.get_marker() in ("s", "o")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    assert points == {(row.parameters, round(row.cells["ndcg@5"].mean, 6)) for row in board.rows if row.runs}
    best = {size: max((r for r in board.rows if r.size == size and r.runs), key=lambda r: r.cells["ndcg@5"].mean)
            for size in ("student", "full")}  # fmt: skip
    assert front([row for row in board.rows if row.runs], board) == [*best.values()]
    assert [text.get_text() for text in axis.texts] == [row.name for row in best.values()]
    assert axis.get_xscale() == "log"


def test_the_front_has_the_lowest_where_less_is_better(board, monkeypatch):
    board.own_less_is_better = frozenset({"ndcg"})
    rows = [row for row in board.rows if row.runs]
    lowest = min((row for row in rows if row.size == "student"), key=lambda row: row.cells["ndcg@5"].mean)
    found = front(rows, board)
    assert found[0] is lowest
    assert [row.name for row in found[1:]] == ["Pop"]


def test_counts_that_are_no_sizes_have_no_place(tmp_path, monkeypatch):
    write_board(tmp_path)
    arm = {part: {"ndcg@5": 0.9, "hit@5": 0.9} for part in ("valid", "test")} | {"best_epoch": 0}
    write_run(tmp_path, "EASE", 1, model={"model": "EASE", "parameters": 1, "separate": arm})
    board = judge(build(runs_below(tmp_path)))
    axis = drawn_by(parameters_picture, board, monkeypatch)
    assert "EASE" not in [text.get_text() for text in axis.texts]
    assert min(x for line in axis.lines for x in line.get_xdata()) == 10


@pytest.mark.filterwarnings("error")
def test_models_of_one_size_have_a_picture(tmp_path):
    write_run(tmp_path, "BPR", 1, {"model/separate": 0.3})
    assert parameters_picture(judge(build(runs_below(tmp_path)))).startswith(b"\x89PNG")
