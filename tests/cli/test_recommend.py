"""`recbole-bd recommend` as a user meets it."""

from collections import Counter

import pytest

from recbole_bd import run_bd
from recbole_bd.cli.main import main
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.serving import read_rows
from tests.helpers.settings import QUICK, alone


def test_recommendations_from_a_run_folder(trained_run, tmp_path, capsys):
    out = tmp_path / "r.csv"
    assert main(["recommend", trained_run, f"--out={out}", "-k", "3"]) == 0
    assert f"60 users, 3 items each by the student: {out}" in capsys.readouterr().out
    assert len(read_rows(out)) == 180
    (tmp_path / "users").write_text("u1\nnobody\n")
    assert main(["recommend", trained_run, f"--out={out}", "--users", str(tmp_path / "users"), "--role=teacher"]) == 0
    assert "1 user not in the data, skipped: nobody" in capsys.readouterr().out


def test_the_summary_counts_what_is_written(trained_run, tmp_path, cli):
    """Each user has 8 of the 48 items in the training and validation parts."""
    code, out, err = cli("recommend", trained_run, "--out=r.csv", "-k", "500")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "60 users, 40 items each by the student: r.csv",
        "-k 500 is above the number of items that may be recommended, 48",
        "60 users with fewer than 48 items: no more are left without those that --exclude=measured leaves out",
    ]
    assert len(read_rows(tmp_path / "r.csv")) == 60 * 40


def test_only_the_items_of_a_file_are_recommended(trained_run, tmp_path, cli):
    (tmp_path / "stock").write_text("i0\ni1\ni2\nfresh\n")
    (tmp_path / "sold").write_text("i2\n")
    words = ["recommend", trained_run, "--out=r.csv", "-k2", "--items=stock", "--exclude_items=sold"]
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err.endswith(
        "--items=stock: 1 of 4 items are not in the data set blocks: fresh; --unknown_items=skip passes over them\n"
    )
    code, out, _ = cli(*words, "--unknown_items=skip")
    rows = read_rows(tmp_path / "r.csv")
    assert {row[1] for row in rows} == {"i0", "i1"}
    counts = Counter(row[0] for row in rows)
    fewer = sum(count == 1 for count in counts.values())
    assert out.splitlines() == [
        f"{len(counts)} users, 1 to 2 items each, {len(rows)} in all, by the student: r.csv",
        f"{fewer} users with fewer than 2 items: no more are left without those that --exclude=measured leaves out",
        f"{60 - len(counts)} users without a row: no item is left without those that --exclude=measured leaves out",
        "1 item of the files not in the data: fresh",
    ]
    assert cli(*words, "--unknown_items=skip", "--exclude=nothing")[1].startswith("60 users, 2 items each by")


def test_users_and_items_without_training_are_told(tmp_path, cli):
    pairs = block_pairs()
    write_inter(tmp_path, "late", [pair for number, pair in enumerate(pairs) if number % 9], "train")
    write_inter(tmp_path, "late", [*pairs[::9], ("v0", "i1"), ("v1", "j0")], "valid")
    write_inter(tmp_path, "late", pairs[1:9], "test")
    settings = alone(
        {**QUICK, "dataset": "late", "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    )
    settings |= {"benchmark_filename": ["train", "valid", "test"], "epochs": 1}
    del settings["distill_epochs"]
    folder = run_bd("BPR", config_dict=settings)["run_folder"]
    out = cli("recommend", folder, "--out=r.csv", "-k100")[1].splitlines()
    assert out[-2:] == [
        "60 rows with items that have no training interaction (1 item), whose scores are those of untrained vectors; "
        "--untrained_items=drop leaves them out",
        "2 users without training interactions, skipped: v0, v1",
    ]
    assert "j0" in {row[1] for row in read_rows(tmp_path / "r.csv")}
    words = ["--unknown=popular", "--untrained_items=drop", "-k100"]
    out = cli("recommend", folder, "--out=r.csv", *words)[1].splitlines()
    assert out[-1] == "2 users without training interactions, given popular items: v0, v1"
    assert not any("untrained vectors" in line for line in out)
    rows = read_rows(tmp_path / "r.csv")
    assert {"v0", "v1"} < {row[0] for row in rows}
    assert "j0" not in {row[1] for row in rows}
    code, _, err = cli("recommend", folder, "--out=e.csv", "--unknown=error")
    assert code == 2
    assert "2 of 62 users are without training interactions: v0, v1; --unknown=skip leaves them out" in err
    assert not (tmp_path / "e.csv").exists()


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
        (["RUN", "--out=r.csv", "--items=gone"], "items file gone cannot be read: "),
        (["RUN", "--out=r.csv", "--filter=genre"], "--filter='genre': expected COLUMN=VALUE"),
        (["RUN", "--out=r.csv", "--filter=genre=Comedy"], "--filter='genre=Comedy' needs "),
        (["RUN", "--out=r.csv", "--unknown_items=x"], "recommend: argument --unknown_items: invalid choice"),
        (["RUN", "--out=r.csv", "--role=model"], "has no model, only teacher, student"),
        (["RUN:student", "--out=r.csv"], "recommend takes the run folder alone; choose its model by "),
        (["RUN/result.json", "--out=r.csv"], "result.json is not a model file; name its run folder, "),
        (["RUN/..", "--out=r.csv"], "is not a run folder: it has no result.json; run folders in it: "),
        (["RUN", "--out=r.csv", "--user=all"], "--user=all. Did you mean --users? See recbole-bd recommend --help"),
        (["gone", "--out=r.csv"], "gone is neither a run folder nor a model file: no such file or folder; "),
    ],
)
def test_wrong_words_are_one_line(words, message, trained_run, cli, tmp_path):
    code, out, err = cli("recommend", *(word.replace("RUN", str(trained_run)) for word in words))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_sequences_of_a_file_are_continued(sequential_run, tmp_path, cli):
    (tmp_path / "histories").write_text("guest\ti1 i2 fresh\nu4\ti3\n")
    words = ["recommend", sequential_run, "--history=histories", "--out=r.csv", "-k3"]
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "--history=histories: 1 of 4 items are not in the data set chains: fresh; --unknown_items=skip" in err
    code, out, err = cli(*words, "--unknown_items=skip")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2 users, 3 items each by the student: r.csv",
        "1 item of the files not in the data: fresh",
    ]
    assert list(dict.fromkeys(row[0] for row in read_rows(tmp_path / "r.csv"))) == ["guest", "u4"]


def test_a_history_needs_a_sequential_model_and_no_users(trained_run, sequential_run, tmp_path, cli):
    (tmp_path / "histories").write_text("guest\ti1 i2\n")
    code, _, err = cli("recommend", trained_run, "--history=histories", "--out=r.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert (
        "--history: the student BPR is not sequential, so it knows users of the data alone; name them with --us" in err
    )
    code, _, err = cli("recommend", sequential_run, "--history=histories", "--users=all users", "--out=r.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "--history names its users itself, one on each line: leave out --users" in err
    assert not (tmp_path / "r.csv").exists()
