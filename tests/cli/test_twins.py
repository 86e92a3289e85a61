"""`recbole-bd compare RUN --twin=RUN`: its table, its JSON, and words that do not fit."""

import json

import pytest

from tests.helpers.twins import write_twins


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    write_twins(tmp_path)


def test_the_table_has_a_line_for_the_student_and_one_for_the_twin(cli):
    code, out, err = cli("compare", "one", "--twin=two")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "teacher: BPR, 80 parameters, seed 1, one",
        "student: BPR, 10 parameters",
        "twin: the teacher of seed 2, two",
    ]
    assert lines[4] == "before distillation, by validation ndcg@5 of 4 users:"
    cells = [[cell for cell in line.split("  ") if cell] for line in lines[7:9]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["student", "50.0%", "-0.577", "+50.0%", "50.0%", "33.3%"],
        ["twin", "100.0%", "+0.000", "+50.0%", "25.0%", "33.3%"],
    ]


def test_the_json_has_the_same_numbers(cli):
    found = json.loads(cli("compare", "one", "--twin=two", "--json")[1])
    assert (found["run"], found["twin"], found["metric"], found["users"]) == ("one", "two", "ndcg@5", 4)
    student, twin = found["pairs"]
    assert (student["teacher_and"], student["ratio"], student["wins"]) == ("student", 0.5, 0.5)
    assert (twin["teacher_and"], twin["headroom"], twin["wins_trained"]) == (
        "twin", pytest.approx(0.5), pytest.approx(1 / 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--twin=two"], "--twin compares one run with its twin, found 0 runs: write compare RUN --twin=RUN"),
        (["one", "two", "--twin=two"], "found 2 runs"),
        (["one", "--twin=two", "--role=student"], "it cannot be combined with --role"),
        (["one", "--twin=two", "--metric=hit@5"], "it cannot be combined with --metric"),
        (["one", "--twin="], "--twin is empty: name a run of another seed"),
        (["one", "--twin=gone"], "gone is not a run folder: no such folder. Did you mean one?"),
    ],
)
def test_words_that_do_not_fit_are_refused_in_one_line(words, message, cli):
    code, out, err = cli("compare", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_twin_with_other_settings_is_told(cli, tmp_path):
    for name, epochs in (("one", 3), ("two", 2)):
        path = tmp_path / name / "result.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "hashes": {**record["hashes"], "teacher": name}}))
        (tmp_path / name / "config.yaml").write_text(f"seed: {epochs}\nlabel: {name}\nteacher: {{epochs: {epochs}}}\n")
    warning = "warning: the twin is another teacher: the runs differ in teacher.epochs"
    code, out, err = cli("compare", "one", "--twin=two")
    assert (code, err, out.splitlines()[-1]) == (0, "", warning)
    assert json.loads(cli("compare", "one", "--twin=two", "--json")[1])["notes"] == [warning]
