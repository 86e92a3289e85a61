"""The best of a column, and the tests of rows against their reference."""

import re

import numpy as np
import pytest
import scipy.stats

from recbole_bd.errors import LeaderboardError
from recbole_bd.leaderboard.formats import latex, markdown, terminal
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge, users_by_seeds, values_of
from tests.helpers.boards import by_name, write_run


def test_the_best_of_each_size_is_marked(board):
    best = {row.name for row in board.rows if row.runs and row.cells["ndcg@5"].best}
    assert best == {"teacher, BD", "student, BD"}
    assert "**0.2600 ± 0.0000**" in markdown(board)
    assert r"\mathbf{0.2600 \pm 0.0000}" in latex(board)
    assert re.search(r"student, BD .*>0\.2600 ± 0\.0000", terminal(board))


def test_a_row_that_lacks_a_seed_does_not_compete(folder):
    write_run(folder, "Lucky", 1, {"model/separate": 0.9})
    board = judge(build(runs_below(folder)))
    assert by_name(board)["teacher, BD"].cells["ndcg@5"].best
    assert not by_name(board)["Lucky"].cells["ndcg@5"].best


def test_of_some_metrics_less_is_better(tmp_path):
    for name, value in (("Good", 0.2), ("Bad", 0.4)):
        entry = {"valid": {}, "test": {"giniindex@5": value}, "best_epoch": 0}
        model = {"model": name, "parameters": 1, "separate": entry}
        write_run(tmp_path, name, 1, valid_metric="giniindex@5", model=model)
    board = judge(build(runs_below(tmp_path)))
    assert [row.name for row in board.rows] == ["Good", "Bad"]
    assert [row.cells["giniindex@5"].best for row in board.rows] == [True, False]


def test_a_run_says_of_which_own_metrics_less_is_better(tmp_path):
    for name, value in (("Good", 0.2), ("Bad", 0.4)):
        entry = {"valid": {}, "test": {"firstmiss@5": value, "firsthit@5": value}, "best_epoch": 0}
        model = {"model": name, "parameters": 1, "separate": entry}
        write_run(tmp_path, name, 1, valid_metric="firstmiss@5", model=model, less_is_better=["firstmiss"])
    board = judge(build(runs_below(tmp_path)))
    assert [row.name for row in board.rows] == ["Good", "Bad"]
    assert [row.cells["firstmiss@5"].best for row in board.rows] == [True, False]
    assert [row.cells["firsthit@5"].best for row in board.rows] == [False, True]


def test_marks_are_scipys_t_test_over_users_with_holms_correction(board, folder):
    tested, p_values = [], []
    for row in board.rows:
        reference = by_name(board)["teacher, continued" if row.size == "full" else "student, continued"]
        if not row.runs or row is reference:
            continue
        means = []
        for one in (row, reference):
            arrays = [np.load(one.runs[seed].folder / "per_user.npz") for seed in (1, 2)]
            means.append(sum(array[f"{one.role}/{one.arm}/ndcg@5"] for array in arrays) / 2)
        tested.append((row, float((means[0] - means[1]).mean())))
        difference = means[0] - means[1]
        # A constant difference leaves the test nothing to judge by.
        constant = np.ptp(difference) < 1e-9
        p_values.append(np.nan if constant else scipy.stats.ttest_rel(*means).pvalue)
    known = sorted(p for p in p_values if not np.isnan(p))
    for (row, difference), p in zip(tested, p_values, strict=True):
        cell = row.cells["ndcg@5"]
        assert cell.difference == pytest.approx(difference, abs=1e-9)
        if np.isnan(p):
            assert cell.p is None
            continue
        rank = known.index(p)
        assert cell.p == pytest.approx(min(1, max(q * (len(known) - i) for i, q in enumerate(known[: rank + 1]))))
        assert bool(cell.mark) == (max(cell.p, cell.crossed_p) < 0.05)
    assert {row.cells["ndcg@5"].mark for row, _ in tested} == {"", "*"}
    assert len(known) >= 3


def test_users_are_matched_by_id_and_only_common_ones_count(tmp_path):
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 30))
    for name, values, order in (("A", one, range(30)), ("B", other, reversed(range(30)))):
        folder = write_run(tmp_path, name, 1, {"model/separate": float(values.mean())})
        order = list(order)[5:] if name == "A" else list(order)
        users = np.array([f"u{i}" for i in order])
        np.savez(folder / "per_user.npz", users=users, **{"model/separate/ndcg@5": values[order]})
    board = judge(build(runs_below(tmp_path)), reference="a")
    cell = by_name(board)["B"].cells["ndcg@5"]
    assert cell.p == pytest.approx(scipy.stats.ttest_rel(one[5:], other[5:]).pvalue)
    assert cell.difference == pytest.approx((other - one)[5:].mean())


def test_a_run_without_per_user_values_is_not_tested_and_that_is_said(folder):
    (folder / "RD-1" / "per_user.npz").unlink()
    board = judge(build(runs_below(folder)))
    assert by_name(board)["student, RD"].cells["ndcg@5"].p is None
    assert "student, RD is not tested" in markdown(board)


def test_a_chosen_reference(folder):
    board = judge(build(runs_below(folder)), reference="bpr")
    assert {row.name for row in board.references.values()} == {"BPR"}
    assert by_name(board)["student, BD"].cells["ndcg@5"].difference == pytest.approx(0.26 - 0.305)
    with pytest.raises(LeaderboardError, match="reference='BRP' is not a row; the rows are: teacher, separate;"):
        judge(build(runs_below(folder)), reference="BRP")


def test_runs_without_a_common_user_are_not_tested(tmp_path):
    write_run(tmp_path, "A", 1, {"model/separate": 0.3})
    folder = write_run(tmp_path, "B", 1, {"model/separate": 0.2})
    with np.load(folder / "per_user.npz") as stored:
        arrays = dict(stored)
    arrays["users"] = np.array([f"other{number}" for number in range(len(arrays["users"]))])
    np.savez(folder / "per_user.npz", **arrays)
    rows = by_name(judge(build(runs_below(tmp_path)), reference="A"))
    cell = rows["B"].cells["ndcg@5"]
    assert (cell.p, cell.difference, cell.mark) == (None, None, "")
    assert users_by_seeds(values_of(rows["A"]), values_of(rows["B"]), "ndcg@5") is None


def leave_values(parent, name, seed, values):
    folder = write_run(parent, name, seed, {"model/separate": float(values.mean())})
    users = np.array([f"u{i}" for i in range(len(values))])
    np.savez(folder / "per_user.npz", users=users, **{"model/separate/ndcg@5": values, "model/separate/hit@5": values})


def test_a_star_needs_the_users_and_the_seeds(tmp_path):
    """A has what luck gives at one of three seeds, B the same gain at each."""
    users = np.random.default_rng(0).random(60)
    for seed, luck in ((1, 0.3), (2, 0.01), (3, 0.02)):
        leave_values(tmp_path, "Pop", seed, users)
        leave_values(tmp_path, "A", seed, users + luck + users[::-1] / 100)
        leave_values(tmp_path, "B", seed, users + 0.1 + luck / 100 + users[::-1] / 100)
    board = judge(build(runs_below(tmp_path)), reference="Pop")
    of_a, of_b = (by_name(board)[name].cells["ndcg@5"] for name in "AB")
    assert of_a.p < 1e-9
    assert of_a.crossed_p > 0.05
    assert (of_a.mark, of_b.mark, of_b.seeds) == ("", "*", 3)
    assert "by two tests" in markdown(board)
    assert "†" not in markdown(board)


def test_one_seed_marks_two_models(tmp_path):
    users = np.random.default_rng(0).random(60)
    leave_values(tmp_path, "Pop", 1, users)
    leave_values(tmp_path, "A", 1, users + 0.1 + users[::-1] / 100)
    board = judge(build(runs_below(tmp_path)), reference="Pop")
    cell = by_name(board)["A"].cells["ndcg@5"]
    assert (cell.mark, cell.crossed_p, cell.seeds) == ("†", None, 1)
    for text in (markdown(board), terminal(board)):
        assert re.search(r"†: these two models differ.*One seed says nothing of the methods\.", text)
        assert "by two tests" not in text
    assert r"^{\dagger}$" in latex(board)
