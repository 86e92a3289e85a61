"""A leaderboard as text: Markdown, CSV, LaTeX and the terminal's table."""

import csv
import io
import re
import statistics

import pytest
import yaml

from recbole_bd.leaderboard.formats import latex, markdown, rules, settings_of, terminal, tidy_csv
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import write_run


def test_one_seed_has_no_deviation(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.25})
    board = judge(build(runs_below(tmp_path)))
    assert board.rows[0].cells["ndcg@5"].std is None
    assert "±" not in terminal(board).splitlines()[3]
    assert "0.2500" in markdown(board)


def test_failures_are_shown_with_their_reason_and_the_rest_is_there(board):
    for text in (terminal(board), markdown(board), tidy_csv(board)):
        assert "the student's loss is not finite" in text
    assert "student, DE & & & " in latex(board)
    assert list(csv.DictReader(io.StringIO(tidy_csv(board))))[-1]["status"] == "failed"


SHARED = "All seeds share one split of the data, so ± is the spread of training alone."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([{"fingerprint": "f"}] * 2, SHARED),
        ([{"fingerprint": "f"}, {"fingerprint": "g"}],
         "The seeds differ in the split of the data too, so ± is the spread of both; with split_seed they share it."),
        ([{"fingerprint": "f", "candidates": {"test": test}} for test in "ab"],
         "The seeds differ in the candidates of sampled evaluation too, so ± is the spread of both; with split_seed "
         "they share it."),
        ([{"fingerprint": "f"}], None),
    ],
)  # fmt: skip
def test_the_page_says_what_the_deviation_over_seeds_holds(data, said, tmp_path):
    counts = {"users": 4, "items": 9, "interactions": 8, "split": {"train": 6, "valid": 1, "test": 1}}
    for seed, own in enumerate(data):
        write_run(tmp_path, "Pop", seed, {"model/separate": 0.25}, data=counts | own)
    found = rules(judge(build(runs_below(tmp_path))))
    about = [line for line in found if "±" in line and "standard deviation" not in line]
    assert about == ([said] if said else [])


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
    for heading in (
        "# Leaderboard on toys",
        "## Setting",
        "## Data",
        "## Results",
        "## Settings of the rows",
        "## Commands",
    ):
        assert f"{heading}\n" in text


def test_every_command_on_the_page_names_its_seed(tmp_path):
    for method, command in (("BPR", "recbole-bd run"), ("EASE", "recbole-bd run --model=EASE --seed=7")):
        write_run(tmp_path, method, 7, {"model/separate": 0.3}, command=command)
    text = markdown(judge(build(runs_below(tmp_path))))
    assert "\nrecbole-bd run --seed=7\n" in text
    assert "\nrecbole-bd run --model=EASE --seed=7\n" in text


def test_settings_of_training_are_shown_of_models_that_train(tmp_path):
    settings = {"learning_rate": 0.002, "train_batch_size": 2048}
    values = {"ndcg@5": 0.3, "hit@5": 0.4}
    entry = {"parameters": 80, "separate": {"valid": values, "test": values, "best_epoch": 3}}
    for method in ("BPR", "Pop", "EASE"):
        write_run(tmp_path, method, 1, {"model/separate": 0.3}, settings=settings, model={"model": method, **entry})
    shown = {row.name: settings_of(row) for row in build(runs_below(tmp_path)).rows}
    assert shown["BPR"]["learning_rate"] == "0.002"
    assert shown["BPR"]["best epochs"] == "3"
    assert set(shown["Pop"].values()) == set(shown["EASE"].values()) == {""}


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


def test_a_board_on_which_nothing_has_finished_states_the_failures(failed_board):
    assert rules(failed_board) == [
        "Test values at the best epoch by validation ndcg@5: mean ± standard deviation (n - 1) over the seeds 1.",
        "Bold: the best mean of a column among the full-size models (baselines and teachers), and among the students; "
        "rows that lack a seed do not compete.",
    ]
    lines = terminal(failed_board).splitlines()
    assert lines[0] == "toys"
    assert lines[3].split() == ["student,", "DE", "0"]
    assert lines[-1] == "student, DE: seed 1 failed: no data"
    (row,) = csv.DictReader(io.StringIO(tidy_csv(failed_board)))
    assert (row["row"], row["status"], row["error"], row["value"]) == ("student, DE", "failed", "no data", "")
    text = markdown(failed_board)
    assert "versions: " not in text
    assert "training | validation | test |\n|---:|---:|---:|---:|---:|---:|---:|\n\n## Results" in text, "no counts"
    assert "## Failed\n\n- student, DE: seed 1 failed: no data\n" in text


@pytest.mark.parametrize(
    ("reference", "compared"),
    [
        (None, "“teacher, continued” for full-size models and “student, continued” for students"),
        ("bpr", "the row “BPR”"),
    ],
)
def test_the_rules_name_the_rows_that_others_are_compared_with(reference, compared, folder):
    board = judge(build(runs_below(folder)), reference)
    assert rules(board)[3:] == [
        f"*: differs from {compared} by two tests: over users, values averaged over the seeds both have, paired t "
        "test; and over users and seeds, both random, two-way variance with Satterthwaite's degrees of freedom. Each "
        "is corrected by Holm's method over the rows of a column; both have p < 0.05."
    ]
