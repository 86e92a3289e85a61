"""Cells that the page joins where its table is copied."""

from recbole_bd.leaderboard.copied import FORMATS, cells, header
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from tests.helpers.boards import by_name, write_run

NAMES = ["row", "parameters", "ms, 1 user", "ndcg@5", "hit@5"]


def test_a_row_has_a_cell_for_each_head_in_every_format(board):
    heads = header(NAMES, board)
    assert heads["csv"] == ["row", "parameters", '"ms, 1 user"', "ndcg@5,ndcg@5 std", "hit@5,hit@5 std"]
    for row in board.rows:
        found = cells(row, [row.name, row.parameters, None], board)
        assert {form: len(texts) for form, texts in found.items()} == dict.fromkeys(FORMATS, len(NAMES))
        assert ",".join(found["csv"]).count(",") - row.name.count(",") == 6
    best = cells(by_name(board)["student, BD"], ["student, BD", 10, 0.25], board)
    assert best["csv"][:3] == ['"student, BD"', "10", "0.25"]
    assert best["md"][1:4] == ["10", "0.250", "**0.2600 ± 0.0000**"]
    assert best["tex"][3] == r"$\mathbf{0.2600 \pm 0.0000}$"


def test_one_seed_has_no_column_of_deviations_and_a_failure_has_no_number(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    write_run(tmp_path, "BPR", 1, None, status="failed", error="no")
    board = build(runs_below(tmp_path))
    assert header(["row", "ndcg@5", "hit@5"], board)["csv"] == ["row", "ndcg@5", "hit@5"]
    failed = cells(by_name(board)["BPR"], ["BPR"], board)
    assert failed == {"csv": ["BPR", "", ""], "md": ["BPR", "failed", "failed"], "tex": ["BPR", "failed", "failed"]}


def test_names_are_escaped_in_every_format(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    board = build(runs_below(tmp_path))
    found = cells(board.rows[0], ['a|b "c", $d & <e>'], board)
    assert found["csv"][0] == '"a|b ""c"", $d & <e>"'
    assert found["md"][0] == r"a\|b " + '"c", $d &amp; &lt;e&gt;'
    assert found["tex"][0] == r'a|b "c", \$d \& \textless{}e\textgreater{}'
