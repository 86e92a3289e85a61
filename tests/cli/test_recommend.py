"""`recbole-bd recommend` as a user meets it."""

import pytest

from recbole_bd.cli.main import main
from tests.helpers.serving import read_rows


def test_recommendations_from_a_run_folder(trained_run, tmp_path, capsys):
    out = tmp_path / "r.csv"
    assert main(["recommend", trained_run, f"--out={out}", "-k", "3"]) == 0
    assert f"60 users, 3 items each by the student: {out}" in capsys.readouterr().out
    assert len(read_rows(out)) == 180
    (tmp_path / "users").write_text("u1\nnobody\n")
    assert main(["recommend", trained_run, f"--out={out}", "--users", str(tmp_path / "users"), "--role=teacher"]) == 0
    assert "1 user not in the data, skipped: nobody" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=r.csv"], "recommend needs a run folder"),
        (["RUN"], "recommend: --out=FILE is missing"),
        (
            ["RUN", "--out=r.txt"],
            "r.txt: the file extension names the format and must be one of .csv, .jsonl, .parquet",
        ),
        (["RUN", "--out=r.csv", "-k", "0"], "recommend: argument -k/--k: '0' is not a whole number"),
        (["RUN", "--out=r.csv", "--unknown=x"], "recommend: argument --unknown: invalid choice"),
        (["RUN", "--out=r.csv", "--role=model"], "has no model, only teacher, student"),
        (["gone", "--out=r.csv"], "gone is neither a run folder nor a model file: no such"),
    ],
)
def test_wrong_words_are_one_line(words, message, trained_run, cli, tmp_path):
    code, out, err = cli("recommend", *(trained_run if word == "RUN" else word for word in words))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
