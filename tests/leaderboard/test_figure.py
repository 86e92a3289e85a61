"""The picture of a leaderboard."""

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
