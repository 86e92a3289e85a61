"""`recbole-bd compare` as a user meets it: what it pairs, what it shows, and how it refuses."""

import json
import re
import shutil

import numpy as np
import pytest

from recbole_bd.evaluator.crossed import compare_crossed
from recbole_bd.evaluator.significance import compare, holm

N_USERS = 30


def leave(folder, arms=("separate", "continued", "distilled"), roles=("teacher", "student"), **about):
    """A run folder as a run leaves it, with values that the seed and the arm determine."""
    record = {"method": "BD", "dataset": "toy", "seed": 1, "fingerprint": "f", "users": N_USERS, **about}
    folder.mkdir(parents=True)
    data = {"fingerprint": record.pop("fingerprint")}
    users = np.array([f"u{user:02}" for user in range(record.pop("users"))])
    generator = np.random.default_rng(record["seed"])
    arrays = {}
    for role in roles:
        for number, arm in enumerate(arms):
            hits = generator.random(len(users)) < 0.3 + 0.2 * number
            arrays |= {f"{role}/{arm}/hit@5": hits * 1.0, f"{role}/{arm}/ndcg@5": hits * generator.random(len(users))}
    # Another order in every run: users are matched by id.
    order = generator.permutation(len(users))
    np.savez(folder / "per_user.npz", users=users[order], **{key: values[order] for key, values in arrays.items()})
    (folder / "result.json").write_text(json.dumps({**record, "data": data}))
    return {key: values for key, values in arrays.items()}


@pytest.fixture
def runs(tmp_path):
    """Run folders by name, in the folder where the command runs."""
    root = tmp_path / "runs"
    return {
        "a": leave(root / "a", seed=1),
        "b": leave(root / "b", seed=2),
        "c": leave(root / "c", seed=3),
        "frozen": leave(root / "frozen", method="RD", seed=1),
        "pop": leave(root / "pop", ("separate",), ("model",), method="Pop", seed=1),
        "pop2": leave(root / "pop2", ("separate",), ("model",), method="Pop", seed=2),
        "other": leave(root / "other", seed=1, fingerprint="g"),
        "fewer": leave(root / "fewer", seed=1, users=9),
    }


def rows_of(cli, *words) -> list[dict]:
    code, out, err = cli("compare", *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)["comparisons"]


def numbers(row) -> dict:
    labels = ("over", "a", "b", "metric", "t_holm", "wilcoxon_holm", "p_holm", "verdict")
    return {name: value for name, value in row.items() if name not in labels}


def test_two_whole_runs_are_compared_where_both_are(cli, runs):
    rows = rows_of(cli, "runs/a", "runs/b")
    assert [(row["a"], row["b"], row["metric"], row["over"]) for row in rows] == [
        (f"{role}/distilled", f"{role}/distilled", metric, "users")
        for role in ("teacher", "student")
        for metric in ("hit@5", "ndcg@5")
    ]
    for row in rows:
        key = f"{row['a']}/{row['metric']}"
        assert numbers(row) == vars(compare(runs["a"][key], runs["b"][key]))
    for test in ("t", "wilcoxon"):
        assert [row[f"{test}_holm"] for row in rows] == holm([row[f"{test}_p"] for row in rows])


def test_two_arms_of_one_run(cli, runs):
    (row,) = rows_of(cli, "runs/a:student/continued", "runs/a:student/distilled", "--metric", "ndcg@5")
    assert numbers(row) == vars(compare(runs["a"]["student/continued/ndcg@5"], runs["a"]["student/distilled/ndcg@5"]))


def test_a_role_and_an_arm_are_chosen(cli, runs):
    rows = rows_of(cli, "runs/a", "runs/b", "--role=student", "--arm=separate", "--metric=NDCG@5,hit@5,ndcg@5")
    assert [(row["a"], row["b"], row["metric"]) for row in rows] == [
        ("student/separate", "student/separate", metric) for metric in ("ndcg@5", "hit@5")
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["runs/pop", "runs/a:student/distilled"], ("model/separate", "student/distilled")),
        (["runs/a:teacher/continued", "runs/pop"], ("teacher/continued", "model/separate")),
        (["runs/pop", "runs/a", "--role=student"], ("model/separate", "student/distilled")),
        (["runs/a:student/continued", "runs/b"], ("student/continued", "student/distilled")),
        (["runs/a:student/separate", "runs/a:teacher/separate"], ("student/separate", "teacher/separate")),
        (["--metric=hit@5", "runs/pop", "--arm=separate", "runs/pop2"], ("model/separate", "model/separate")),
    ],
)
def test_what_stands_against_what(cli, runs, words, expected):
    assert {(row["a"], row["b"]) for row in rows_of(cli, *words)} == {expected}


def test_a_teacher_without_distillation_stands_with_its_separate_arm(cli, runs, tmp_path):
    path = tmp_path / "runs" / "frozen" / "per_user.npz"
    with np.load(path) as stored:
        kept = {
            key: stored[key]
            for key in stored.files
            if key.split("/")[:2] not in (["teacher", "distilled"], ["teacher", "continued"])
        }
    np.savez(path, **kept)
    rows = rows_of(cli, "runs/frozen", "runs/a", "--metric=hit@5")
    assert [(row["a"], row["b"]) for row in rows] == [
        ("teacher/separate", "teacher/distilled"),
        ("student/distilled", "student/distilled"),
    ]


def test_seeds_are_paired_and_users_averaged_over_them(cli, runs, tmp_path):
    root = tmp_path / "runs"
    others = {seed: leave(root / f"rd{seed}", method="RD", seed=seed) for seed in (1, 2, 3)}
    # In another order on either side.
    words = ["runs/c,runs/a,runs/b", "runs/rd2,runs/rd1,runs/rd3:student/continued", "--metric=ndcg@5"]
    over_users, over_both, over_seeds = rows_of(cli, *words)
    a = np.array([runs[name]["student/distilled/ndcg@5"] for name in "abc"])
    b = np.array([others[seed]["student/continued/ndcg@5"] for seed in (1, 2, 3)])
    assert over_users["over"] == "users"
    assert numbers(over_users) == pytest.approx(vars(compare(a.mean(axis=0), b.mean(axis=0))))
    assert over_seeds["over"] == "seeds"
    assert numbers(over_seeds) == pytest.approx(vars(compare(a.mean(axis=1), b.mean(axis=1))))
    assert over_seeds["n"] == 3
    assert over_seeds["t_holm"] == over_seeds["t_p"]  # a family of its own
    assert over_both["over"] == "users and seeds"
    assert numbers(over_both) == pytest.approx(vars(compare_crossed(a.T, b.T)))
    assert over_both["p_holm"] == over_both["p"]
    _, out, _ = cli("compare", *words)
    assert "over 30 users, each the mean of 3 seeds:" in out
    assert "over 3 seeds:" in out
    assert "over 30 users and 3 seeds, both random:" in out


def leave_values(folder, seed, values):
    leave(folder, ("distilled",), ("student",), seed=seed)
    np.savez(folder / "per_user.npz", users=np.arange(len(values)).astype(str), **{"student/distilled/hit@5": values})


def test_better_needs_the_users_and_the_seeds(cli, runs, tmp_path):
    """Every user gains, by what the seed decides; then a gain that all seeds have."""
    root, users = tmp_path / "runs", np.random.default_rng(0).random(200)
    for seed, luck in enumerate((0.3, 0.02, 0.04)):
        leave_values(root / f"before{seed}", seed, users)
        leave_values(root / f"lucky{seed}", seed, users + luck + users[::-1] / 100)
        leave_values(root / f"steady{seed}", seed, users - 0.1 + luck / 100 + users[::-1] / 100)

    def words(name):
        return ",".join(f"runs/{name}{seed}" for seed in range(3))

    over_users, over_both, _ = rows_of(cli, words("before"), words("lucky"))
    assert over_users["t_holm"] < 1e-9
    assert "verdict" not in over_users
    assert (over_both["verdict"], over_both["ahead"]) == ("no difference shown", 3)
    assert rows_of(cli, words("before"), words("steady"))[1]["verdict"] == "worse"
    out = cli("compare", words("steady"), words("before"))[1]
    assert re.search(r"3 of 3 +B better$", out, re.MULTILINE)
    assert "better, worse: Holm p below 0.05 over users and seeds, and over users (t)." in out


def test_one_seed_speaks_of_two_models(cli, runs, tmp_path):
    root, users = tmp_path / "runs", np.random.default_rng(0).random(200)
    leave_values(root / "before", 1, users)
    leave_values(root / "after", 1, users + 0.1 + users[::-1] / 100)
    (row,) = rows_of(cli, "runs/before", "runs/after")
    assert row["verdict"] == "these two models: better"
    out = cli("compare", "runs/before", "runs/after")[1]
    assert "these two models: B better" in out
    assert out.splitlines()[-1].startswith("One seed: the tests are about these two models.")


def test_seeds_that_test_other_users_are_compared_over_seeds_only(cli, runs, tmp_path):
    for name in ("b", "fewer"):
        shutil.copytree(tmp_path / "runs" / name, tmp_path / "copies" / name)
    words = ["runs/b,runs/fewer", "copies/fewer,copies/b", "--role=student"]
    assert {row["over"] for row in rows_of(cli, *words)} == {"seeds"}
    assert "The seeds were tested on different users, so there is no table over users" in cli("compare", *words)[1]


def test_the_table_shows_everything(cli, runs):
    code, out, _ = cli("compare", "runs/a:student/separate", "runs/a:student/distilled")
    assert code == 0
    lines = out.splitlines()
    assert lines[:2] == ["A: BD on toy, seed 1, runs/a", "B: BD on toy, seed 1, runs/a"]
    assert lines[3] == "over 30 users:"
    header, row = lines[4], lines[6]
    for name in ("mean A", "mean B", "B - A", "95% interval", "t p", "Wilcoxon p", "Holm p (t)", "d_z"):
        assert name in header
    found = compare(runs["a"]["student/separate/hit@5"], runs["a"]["student/distilled/hit@5"])
    cells = row.split()
    assert cells[:6] == [
        "student/separate", "student/distilled", "hit@5", f"{found.mean_a:.4f}", f"{found.mean_b:.4f}",
        f"{found.difference:+.4f}",
    ]  # fmt: skip
    assert cells[6:8] == [f"[{found.low:+.4f},", f"{found.high:+.4f}]"]
    assert [float(cell) for cell in cells[8:10]] == pytest.approx([found.t_p, found.wilcoxon_p], rel=0.5, abs=5e-5)
    assert float(cells[8]) > 0, "a small p is not shown as none"
    assert cells[11] == f"{found.effect_size:+.3f}"
    assert "B - A above 0: B is higher." in lines[-2]


def test_no_difference_and_too_few_are_said(cli, runs, tmp_path):
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "runs" / "same")
    same = cli("compare", "runs/a", "runs/same", "--role=student", "--metric=hit@5")[1].splitlines()[6]
    expected = ["+0.0000", "none", "differs", "1.0000", "1.0000", "1.0000", "+0.000", "no", "difference", "shown"]
    assert same.split()[5:] == expected
    for name in "de":
        leave(tmp_path / "runs" / name, users=1, seed=ord(name))
    one = cli("compare", "runs/d", "runs/e", "--role=student", "--metric=hit@5")[1].splitlines()[6]
    assert one.count("not enough") == 5


REFUSED = {
    "one run": (["runs/a"], "compare takes two runs, RUN_A RUN_B, found 1; two arms of one run"),
    "three runs": (["runs/a", "runs/b", "runs/c"], "found 3"),
    "no folder": (
        ["runs/a", "runs/z"],
        "'runs/z' is not a run folder: no such folder; run folders in runs: runs/a, runs/b, ",
    ),
    "a file": (["runs/a/result.json", "runs/b"], "is not a run folder but a file; name its folder, runs/a"),
    "itself": (["runs/a", "runs/b/../a"], "runs/a is on both sides with teacher/distilled: name another run, or"),
    "its own arm": (["runs/a:student/continued", "runs/a", "--arm=continued"], "both sides with student/continued"),
    "a seed in common": (["runs/a,runs/b", "runs/b,runs/a"], "runs/a is on both sides with teacher/distilled"),
    "a value of a switch": (["runs/a", "runs/b", "--json=1"], "--json takes no value, found '1'"),
    "half a name": (
        ["runs/a:student", "runs/b"],
        "'runs/a:student' is not a run folder; an arm of a run is written RUN:",
    ),
    "a gap": (["runs/a,", "runs/b"], "'runs/a,' is not a run folder"),
    "no run": (["runs", "runs/a"], "it has no result.json; run folders in it: runs/a, runs/b, runs/c, ..."),
    "unknown role": (["runs/a:pupil/distilled", "runs/b"], "expected RUN:role/arm, role one of teacher, student"),
    "unknown arm": (["runs/a:student/after", "runs/b"], "arm separate, continued, placebo, distilled"),
    "missing role": (["runs/a:model/separate", "runs/b:student/separate"], "it has no model, only teacher"),
    "missing arm": (["runs/pop", "runs/pop", "--arm=distilled"], "the model has no arm distilled; it has separate"),
    "nothing in common": (["runs/pop", "runs/a"], "such as runs/pop:model/separate runs/a:student/distilled"),
    "wrong --role": (["runs/a", "runs/b", "--role=pupil"], "argument --role: invalid choice: 'pupil'"),
    "wrong --arm": (["runs/a", "runs/b", "--arm=after"], "argument --arm: invalid choice: 'after'"),
    "unknown option": (
        ["runs/a", "runs/b", "--metrics=hit@5"],
        "arguments: --metrics=hit@5. Did you mean --metric? See",
    ),
    "unknown metric": (["runs/a", "runs/b", "--metric=hit@9"], "metric hit@9: both must have measured it"),
    "another split": (["runs/a", "runs/other"], "have different data or splits (fingerprints f and g)"),
    "other users": (["runs/a", "runs/fewer"], "were tested on different users"),
    "other seeds": (["runs/a,runs/b", "runs/a,runs/c"], "paired by seed, but A has [1, 2] and B [1, 3]"),
    "one against two": (["runs/a", "runs/a,runs/b"], "paired by seed, but A has [1] and B [1, 2]"),
    "a seed twice": (["runs/a,runs/a", "runs/a,runs/b"], "each run must have its own seed, found [1, 1]"),
    "two methods": (["runs/a,runs/pop", "runs/a,runs/b"], "must be seeds of one method, found BD on toy, Pop on toy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(case, cli, runs):
    words, message = REFUSED[case]
    code, out, err = cli("compare", *words)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("recbole-bd: error: ")
    assert message in err


def test_a_run_without_per_user_values_is_named(cli, runs, tmp_path):
    (tmp_path / "runs" / "b" / "per_user.npz").unlink()
    code, _, err = cli("compare", "runs/a", "runs/b")
    assert code == 2
    assert "per_user.npz does not exist" in err


def test_the_help_names_it(cli):
    assert "recbole-bd compare RUN_A RUN_B [--metric=NAME]" in cli("compare", "--help")[1]


def test_runs_of_one_side_with_other_settings_are_told(cli, tmp_path, monkeypatch):
    for name, seed in (("x1", 1), ("x2", 2), ("y1", 1), ("y2", 2)):
        same = {"hashes": {"settings": "same" if name[0] == "y" else name}}
        leave(tmp_path / name, seed=seed + 5 * (name[0] == "y"), **same)
        record = json.loads((tmp_path / name / "result.json").read_text())
        (tmp_path / name / "result.json").write_text(json.dumps({**record, "seed": seed}))
        (tmp_path / name / "config.yaml").write_text(f"seed: {seed}\nepochs: {seed}\ntemperature: 2.0\n")
    monkeypatch.chdir(tmp_path)
    warning = "warning: the runs of A differ in epochs, and not in their seeds alone"
    code, out, err = cli("compare", "x1,x2", "y1,y2")
    assert (code, err, out.splitlines()[-1]) == (0, "", warning)
    assert json.loads(cli("compare", "x1,x2", "y1,y2", "--json")[1])["notes"] == [warning]


def test_an_empty_metric_is_refused(cli, runs):
    code, _, err = cli("compare", "runs/a", "runs/frozen", "--metric=")
    assert (code, err) == (
        2,
        "recbole-bd: error: --metric is empty: name metrics, such as --metric=ndcg@10, or leave it out\n",
    )


def test_where_less_is_better_the_lower_side_is_better(cli, tmp_path, monkeypatch):
    """Every user of B is hit more often, and so misses less: both rows say that B is better."""
    generator = np.random.default_rng(0)
    users = np.array([f"u{user:02}" for user in range(N_USERS)])
    for side, seed, bonus in (("a", 1, 0.0), ("a", 2, 0.0), ("b", 1, 0.3), ("b", 2, 0.3)):
        leave(tmp_path / f"{side}{seed}", ("separate",), ("model",), method="BPR", seed=seed, less_is_better=["miss"])
        hits = 0.3 + bonus + 0.05 * generator.random(N_USERS)
        values = {"model/separate/hit@5": hits, "model/separate/miss@5": 1 - hits}
        np.savez(tmp_path / f"{side}{seed}" / "per_user.npz", users=users, **values)
    monkeypatch.chdir(tmp_path)
    of_two = {row["metric"]: row for row in rows_of(cli, "a1", "b1")}
    assert {name: row["verdict"] for name, row in of_two.items()} == dict.fromkeys(
        ("hit@5", "miss@5"), "these two models: better"
    )
    of_both = {row["metric"]: row for row in rows_of(cli, "a1,a2", "b1,b2") if row["over"] == "users and seeds"}
    assert {name: (row["verdict"], row["ahead"]) for name, row in of_both.items()} == dict.fromkeys(
        ("hit@5", "miss@5"), ("better", 2)
    )
