"""The picture of a leaderboard."""

from matplotlib.figure import Figure

from recbole_bd.leaderboard.figure import picture
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import write_board, write_run


def test_the_picture_is_the_same_for_the_same_runs(tmp_path):
    write_board(tmp_path)
    write_run(tmp_path, "Cost $x_1$", 1, {"model/separate": 0.2})
    first = picture(judge(build(runs_below(tmp_path))))
    assert first.startswith(b"\x89PNG")
    assert first == picture(judge(build(runs_below(tmp_path))))


def test_a_board_on_which_nothing_has_finished_has_an_empty_picture(failed_board):
    assert picture(failed_board).startswith(b"\x89PNG")


def test_rows_are_drawn_at_their_means_with_their_seeds(board, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    picture(board)
    (axis,) = drawn[0].axes
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
