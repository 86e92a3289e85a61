"""Leaderboards from run folders: rows, cells, marks, and every form of text."""

import csv
import io
import json
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import yaml

from recbole_bd.errors import LeaderboardError
from recbole_bd.leaderboard.formats import latex, markdown, terminal, tidy_csv
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import two_roles, write_board, write_run


@pytest.fixture
def folder(tmp_path):
    write_board(tmp_path)
    return tmp_path


@pytest.fixture
def board(folder):
    return judge(build(runs_below(folder)))


def by_name(board) -> dict:
    return {row.name: row for row in board.rows}


def test_rows_are_baselines_what_was_taught_and_the_shared_models_once(board):
    assert [row.name for row in board.rows] == [
        "teacher, separate", "teacher, continued", "teacher, BD", "BPR", "Pop",
        "student, separate", "student, continued", "student, BD", "student, RD", "student, DE",
    ]  # fmt: skip
    rows = by_name(board)
    assert (rows["BPR"].size, rows["teacher, BD"].size, rows["student, RD"].size) == ("full", "full", "student")
    assert rows["student, BD"].parameters == 10


def test_cells_are_mean_and_standard_deviation_of_the_result_files(board, folder):
    for row in board.rows:
        if not row.runs:
            continue
        for metric, cell in row.cells.items():
            raw = [json.loads((run.folder / "result.json").read_text()) for run in row.runs.values()]
            values = np.array([one[row.role][row.arm]["test"][metric] for one in raw])
            assert len(values) == 2
            assert cell.mean == pytest.approx(values.mean(), abs=1e-12)
            assert cell.std == pytest.approx(values.std(ddof=1), abs=1e-12)


def test_one_seed_has_no_deviation(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.25})
    board = judge(build(runs_below(tmp_path)))
    assert board.rows[0].cells["ndcg@5"].std is None
    assert "±" not in terminal(board).splitlines()[3]
    assert "0.2500" in markdown(board)


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
        assert cell.significant == (cell.p < 0.05)
    assert any(row.cells["ndcg@5"].significant for row, _ in tested)
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


def test_failures_are_shown_with_their_reason_and_the_rest_is_there(board):
    for text in (terminal(board), markdown(board), tidy_csv(board)):
        assert "the student's loss is not finite" in text
    assert "student, DE & & & " in latex(board)
    assert list(csv.DictReader(io.StringIO(tidy_csv(board))))[-1]["status"] == "failed"


def test_a_later_success_takes_the_place_of_a_failure(folder):
    before = json.loads((folder / "DE-1" / "result.json").read_text())
    write_run(folder, "DE", 1, two_roles(0.3, 0.2), ("student",), name="DE-1-again", config_hash=before["config_hash"])
    assert not by_name(build(runs_below(folder)))["student, DE"].errors


def test_rows_of_one_name_are_told_apart_by_their_settings(tmp_path):
    for temperature in (1.0, 2.0):
        settings = {"temperature": temperature, "checkpoint_dir": f"runs{temperature}"}
        values = two_roles(0.3, 0.2, temperature / 100)
        write_run(tmp_path, "BD", 1, values, ("teacher", "student"), name=f"BD{temperature}", settings=settings)
    names = [row.name for row in build(runs_below(tmp_path)).rows]
    assert {"student, BD (temperature=1.0)", "student, BD (temperature=2.0)"} < set(names)
    assert names.count("student, separate") == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"dataset": "other"}, "data set"),
        ({"data": {"fingerprint": "other"}}, "data or split"),
        ({"valid_metric": "hit@5"}, "valid_metric"),
        ({"settings": {"eval_args": {"mode": "uni100"}}}, "eval_args"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, kind, folder):
    write_run(folder, "EASE", 1, {"model/separate": 0.2}, **change)
    with pytest.raises(LeaderboardError, match=f"differ in {kind}, so they do not fit into one table"):
        build(runs_below(folder))


def test_folders_that_are_no_runs_are_passed_over(folder):
    (folder / "notes").mkdir()
    for name, text in (("torn", "{"), ("foreign", "[]"), ("old", '{"schema": 1, "status": "finished"}')):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text(text)
    write_run(folder, "Slow", 1, None, status="running")
    assert "Slow" not in by_name(build(runs_below(folder)))
    with pytest.raises(LeaderboardError, match="no run has ended"):
        build([])


# --- texts ----------------------------------------------------------------------------------------------------------
NASTY = r'<script>alert("x")</script> | a_b & 50% of $x^2$ #1 {~} \end{tabular} `c` *d* ```'


@pytest.fixture
def nasty(tmp_path):
    folder = tmp_path / "nasty"
    command = f"recbole-bd run '{NASTY}'"
    write_run(folder, "BPR", 1, {"model/separate": 0.3})
    write_run(folder, "Pop", 1, {"model/separate": 0.2}, name="<script>alert(1)<", command=command)
    write_run(folder, NASTY, 1, {"model/separate": 0.1}, name="x")
    write_run(folder, "DE", 1, None, ("student",), status="failed", error=NASTY)
    return judge(build(runs_below(folder)))


def cells_of(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_markdown_is_a_page_with_whole_tables(nasty):
    text = markdown(nasty)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({len(cells_of(line)) for line in table.splitlines()}) == 1
    prose = re.sub(r"(?ms)^(`{3,})[a-z]+\n.*?^\1$", "", text)
    assert "<script>" not in prose
    assert "&lt;script&gt;" in prose
    fence = re.search(r"(?m)^(`{4,})bash\n(?P<code>(?s:.*?))\n\1$", text)
    assert NASTY in fence["code"]
    assert yaml.safe_load(re.search(r"(?s)```yaml\n(.*?)\n```", text)[1])["eval_args"] == {"mode": "full"}
    for heading in ("# Leaderboard on toys", "## Setting", "## Data", "## Results", "## Best settings", "## Commands"):
        assert f"{heading}\n" in text


def test_csv_is_tidy(nasty, board):
    rows = list(csv.DictReader(io.StringIO(tidy_csv(nasty))))
    assert {row["row"] for row in rows} == {"BPR", "Pop", NASTY, "student, DE"}
    rows = [row for row in csv.DictReader(io.StringIO(tidy_csv(board))) if row["status"] == "finished"]
    assert len(rows) == 9 * 2 * 2  # rows, metrics, seeds
    for row in rows:
        same = [float(r["value"]) for r in rows if (r["row"], r["metric"]) == (row["row"], row["metric"])]
        assert float(row["mean"]) == pytest.approx(statistics.mean(same))
        assert float(row["std"]) == pytest.approx(statistics.stdev(same))


def test_latex_is_balanced_and_escaped(nasty):
    text = latex(nasty)
    bare = re.sub(r"\\[{}$&#%_\\]", "", text.partition("\n")[2])  # the first line is a comment
    depth = 0
    for char in bare:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[#%]", bare)
    outside = "".join(bare.split("$")[::2])
    assert "^" not in outside
    assert "_" not in outside
    assert text.count(r"\end{tabular}") == 1
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for line in body.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 4
    assert text.isascii()


def test_reading_needs_neither_torch_nor_recbole():
    code = "import sys; from recbole_bd.leaderboard import page, figure, schedule, verdicts;"
    code += "sys.exit('torch' in sys.modules or 'recbole' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
