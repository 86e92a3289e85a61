"""The pages of results/: what they say of known runs, and that they are what the records give."""

import importlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_bd.config.former_settings import with_todays
from recbole_bd.config.property_files import options_of_run
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import TrainingError
from recbole_bd.evaluator.crossed import compare_crossed
from recbole_bd.evaluator.significance import compare, holm
from recbole_bd.leaderboard.run_reader import read_runs, runs_below, runs_jsonl
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from tests.helpers.boards import write_run
from tests.helpers.paths import ROOT, SHARED_DATA, needs_data
from tests.helpers.settings import make_config

BOARDS = load_yaml(ROOT / "benchmarks" / "evidence.yaml")["boards"]
RECORDED = sorted(path.parent.name for path in (ROOT / "results").glob("*/runs.jsonl"))


@pytest.fixture
def pages_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evidence_pages")


@pytest.fixture
def methods_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evidence_methods")


@pytest.fixture
def claims_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evidence_claims")


FORMS = {"toys-bpr": "BD"}


def scores(teacher, student):
    arms = {
        "teacher/separate": 0.3,
        "student/separate": 0.1,
        "teacher/distilled": teacher,
        "student/distilled": student,
    }
    return {**arms, "teacher/continued": 0.32, "student/continued": 0.12}


@pytest.fixture
def boards(tmp_path):
    """BD lifts the student well above RD's and keeps the teacher where its control is."""
    both = ("teacher", "student")
    for seed in (1, 2, 3):
        wins = {"separate": 0.2, "distilled": 0.2 + seed / 100}
        trained = {"student_wins_trained": {arm: share / 2 for arm, share in wins.items()}} if seed < 3 else {}
        write_run(tmp_path, "BD", seed, scores(0.32, 0.3), both, student_wins=wins, **trained)
        one_way = {key: value for key, value in scores(0, 0.15).items() if not key.startswith("teacher/c")}
        del one_way["teacher/distilled"]
        write_run(tmp_path, "RD", seed, one_way, ("student",), settings={"temperature": 3})
    (tmp_path / "runs.jsonl").write_text(runs_jsonl(runs_below(tmp_path)))
    return {"toys-bpr": judge(build(read_runs(tmp_path / "runs.jsonl")))}


def test_planned_gains_are_both_tests_with_holms_correction_within_a_claim(claims_module, boards):
    gains = claims_module.all_gains(boards, FORMS)
    planned = {(gain.plan.claim, gain.role): gain for gain in gains if gain.plan}
    assert {key: (gain.against, gain.stood) for key, gain in planned.items()} == {
        (2, "teacher"): ("continued", ("separate", "continued")),
        (2, "student"): ("continued", ("separate", "continued")),
        (3, "student"): ("RD", ("RD",)),
    }
    better = planned[3, "student"]
    assert better.relative == pytest.approx(0.3 / 0.15 - 1)
    assert (better.verdict, better.test.ahead) == ("better", 3)
    rows = {row.name: row for row in boards["toys-bpr"].rows}
    sides = [
        np.stack([run.per_user()[1]["student/distilled/ndcg@5"] for run in rows[name].runs.values()], axis=1)
        for name in ("student, RD", "student, BD")
    ]
    expected = compare_crossed(*sides)
    for name in ("difference", "p", "df", "effect_size"):
        assert getattr(better.test, name) == pytest.approx(getattr(expected, name))
    assert better.users_p == pytest.approx(compare(*(side.mean(axis=1) for side in sides)).t_p)
    family = [planned[2, role] for role in ("teacher", "student")]
    assert [gain.crossed_p for gain in family] == pytest.approx(holm([gain.test.p for gain in family]))
    assert [gain.p for gain in family] == pytest.approx(holm([gain.users_p for gain in family]))
    assert planned[2, "teacher"].verdict == "no difference shown"


def test_all_else_is_shown_without_a_verdict(claims_module, boards):
    shown = [gain for gain in claims_module.all_gains(boards, FORMS) if gain.plan is None]
    assert [(gain.role, gain.against) for gain in shown] == [
        ("teacher", "separate"), ("teacher", "continued"), ("student", "separate"), ("student", "continued"),
        ("student", "RD"),
    ]  # fmt: skip
    assert {(gain.p, gain.crossed_p, gain.verdict) for gain in shown} == {(None, None, "")}


def test_below_the_strongest_of_several_the_choice_counts(claims_module, tmp_path):
    """A control was picked as the strongest of two, so that "worse" needs a p value of half the size."""
    values = {**scores(0.28, 0.3), "teacher/separate": 0.3}
    for seed in (1, 2, 3):
        write_run(tmp_path, "BD", seed, values, ("teacher", "student"))
    board = judge(build(runs_below(tmp_path)))
    gains = claims_module.all_gains({"toys": board}, {"toys": "BD"})
    below, above = (gain for gain in gains if gain.plan)
    assert (below.role, below.against, len(below.stood)) == ("teacher", "continued", 2)
    assert [below.p, above.p] == pytest.approx(holm([2 * below.users_p, above.users_p]))


def test_the_page_says_each_claim_with_its_verdict(pages_module, claims_module, boards):
    gains = claims_module.all_gains(boards, FORMS)
    page = pages_module.claims_page(boards, FORMS, gains, ["of the settings"], "the command")
    assert "| toys-bpr | 20.0% ± 0.0% | 22.0% ± 1.0% | 10.0% ± 0.0% | 10.8% ± 0.4% |" in page
    assert "**Holds.** The student in 1 planned comparison: 1 better." in page
    said = "**Holds in part.** The teacher in 1 planned comparison: 1 no difference shown. The student in 1 planned"
    assert said in page
    assert page.count("Nothing has been compared yet.") == 1
    row = "| toys-bpr | student | BD | continued | separate, continued | 0.1200 ± 0.0000 | 0.3000 ± 0.0000 | +150.0% |"
    assert row in page
    assert re.search(r"toys-bpr \| student \| RD \| 0\.1500 .* \| \+0\.1500 \| \+0\.\d{4} to .* \| 3 of 3 \|\n", page)
    assert "| < .0001 | < .0001 | better |" in page
    assert "the command" in page
    assert "of the settings" in page
    assert "chosen on each pair: *BD*." in page
    assert "A seed of toys also decides the split" in page
    assert "| toys-bpr | 12% | 0.1000 ± 0.0000 | 0.3000 ± 0.0000 | 0.3200 ± 0.0000 | 94% |" in page
    assert "test NDCG@5: mean" in page
    table = pages_module.dataset_page("toys", boards, {}, "the command")
    assert "| student, BD | BPR | 10 | 3 | 0.3000 ± 0.0000 | 0.4500 ± 0.0000 | +200.0% | +150.0% |" in table
    assert pages_module.claims_picture(gains).startswith(b"\x89PNG")


def test_one_seed_is_counted_as_two_models(pages_module, claims_module, tmp_path):
    wins = {"separate": 0.2, "distilled": 0.3}
    write_run(tmp_path, "BD", 1, scores(0.2, 0.3), ("teacher", "student"), student_wins=wins)
    boards = {"toys-bpr": judge(build(runs_below(tmp_path)))}
    gains = claims_module.all_gains(boards, FORMS)
    page = pages_module.claims_page(boards, FORMS, gains, [], "the command")
    said = "**Not shown.** The teacher in 1 planned comparison: 1 these two models: worse. The student in 1 planned"
    assert said in page
    assert pages_module.claims_picture(gains).startswith(b"\x89PNG")


def test_the_readme_has_a_row_of_the_placebo_where_there_is_one(pages_module, boards):
    table = pages_module.headline(boards["toys-bpr"], "BD")
    assert "| BD | 0.3200 ± 0.0000 | 0.3000 ± 0.0000 |" in table
    assert "placebo" not in table
    row = boards["toys-bpr"].rows[0]
    boards["toys-bpr"].rows.append(replace(row, name="teacher, BD, placebo"))
    assert "| placebo | 0.3000 ± 0.0000 |  |" in pages_module.headline(boards["toys-bpr"], "BD")


def test_the_table_of_the_methods_has_the_students_of_every_board(methods_module, boards):
    table = methods_module.students_table(boards, FORMS)
    header, _, *rows = table.splitlines()
    assert header == "| pair | separate | BD | RD |"  # what no board has is left out
    assert [row.partition(" | ")[0] for row in rows] == [f"| {name}" for name in boards]
    assert rows[0].startswith("| toys-bpr | .1000 | ")
    assert rows[0].split(" | ")[2] == ".3000"


def test_settings_are_counted_by_form_with_all_arms_that_led_to_it(evidence):
    def trials(arm, count, seconds):
        return [{"arm": arm, "trial": str(number), "seconds": seconds} for number in range(count)]

    rows = [*trials("BD", 3, "10"), *trials("BD, top", 2, "5"), *trials("BD, uniform", 4, ""), *trials("CD", 2, "1500")]
    rows.append({"arm": "BD", "trial": "0", "seconds": "7"})  # again, with another seed
    plans = {
        "toys": {"led_to": ["BD, top"], "unrecorded": "some more were not recorded", "titles": {"BD": "BD, listwise"}}
    }
    lines = evidence.settings_table(plans, {"toys": rows})
    header, cells = (line.split(" | ") for line in (lines[2], lines[4]))
    found = dict(zip((name.strip("| ") for name in header), (cell.strip("| ") for cell in cells), strict=True))
    assert found == {"pair": "toys", "CD": "2: 3,000 s", "BD": "5: 47 s", "all of BD": "9: 47 s"}
    assert lines[-1] == "- toys: *BD, top* led to *BD, listwise*; some more were not recorded."


def test_metrics_that_differ_are_said_by_data_set(pages_module):
    boards = {
        "a": SimpleNamespace(dataset="toys", valid_metric="ndcg@5"),
        "b": SimpleNamespace(dataset="films", valid_metric="mrr@10"),
        "c": SimpleNamespace(dataset="toys", valid_metric="ndcg@5"),
    }
    assert pages_module.metrics_of(boards) == "NDCG@5 (toys) and MRR@10 (films)"


def test_pages_say_once_which_boards_have_records_of_schema_1(pages_module, monkeypatch):
    monkeypatch.setattr(pages_module, "note_on_schemas", lambda rows: rows)
    boards = {name: SimpleNamespace(rows=note) for name, note in (("a", "old"), ("b", ""), ("c", "old"))}
    assert pages_module._notes_of(boards) == ["a, c: old"]
    assert pages_module._notes_of({"a": boards["a"], "c": boards["c"]}) == ["old"]


@pytest.fixture
def driver(evidence, monkeypatch, tmp_path):
    """The driver with a board of one arm whose trials are a formula, below a folder of its own."""
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "read_plans", lambda: {"toys": {"seeds": [7, 8, 9, 10]}})
    return evidence


def toy_arm(driver):
    return driver.Arm("toys", "BD", {}, {"learning_rate": {"uniform": [0.1, 0.9]}}, ("student",), {})


def test_a_search_goes_on_and_its_best_are_run_with_more_seeds(driver, tmp_path, monkeypatch):
    asked = []

    def trial(arm, number, seed, drawn, given, log, optuna_trial=None):
        asked.append((number, seed))
        row = {"arm": arm.name, "trial": number, "seed": seed, "settings": json.dumps(drawn)}
        # The best of the first seed is the worst of the finalists by the others.
        rate = drawn["learning_rate"]
        if number == 3 and seed == 7:
            return {**row, "objective": 0.95, "pruned": 24}
        return {**row, "error": "broke"} if number == 2 else {**row, "objective": rate if seed == 7 else 1 - rate}

    monkeypatch.setattr(driver, "trial_row", trial)
    arm = toy_arm(driver)
    driver.tune(arm, 4, 2, {})
    driver.tune(arm, 6, 2, {})
    assert sorted(number for number, seed in asked if seed == 7) == [0, 1, 2, 3, 4, 5]
    rows = driver.read_rows(tmp_path / "results" / "toys" / "trials.csv")
    ended = [row for row in rows if row["seed"] == "7" and row["objective"] and not row["pruned"]]
    tried = {int(row["trial"]): float(row["objective"]) for row in ended}
    best = sorted(tried, key=tried.get)[-3:]
    assert {(number, seed) for number, seed in asked if seed != 7} >= {
        (number, seed) for number in best for seed in (8, 9)
    }
    assert len(asked) == len(set(asked)) == len(rows)
    chosen = driver.load_yaml(arm.settings_file)["learning_rate"]
    assert chosen == min(tried[number] for number in best)
    before = len(asked)
    driver.tune(arm, 6, 2, {})
    assert len(asked) == before


def test_a_search_of_which_every_trial_fails_says_why(driver, monkeypatch):
    def trial(arm, number, seed, drawn, given, log, optuna_trial=None):
        return {"arm": arm.name, "trial": number, "seed": seed, "settings": json.dumps(drawn), "error": "no memory"}

    monkeypatch.setattr(driver, "trial_row", trial)
    with pytest.raises(TrainingError, match="no trial of BD has ended; no memory"):
        driver.tune(toy_arm(driver), 2, 1, {})


def test_a_pruned_trial_is_no_finalist_and_known_as_such(driver):
    row = {"objective": "0.4", "settings": json.dumps({"learning_rate": 0.5}), "curve": '{"24": 0.4}'}
    rows = [{**row, "pruned": "24"}, {**row, "objective": "0.3", "pruned": ""}]
    assert driver.finalists(rows) == rows[1:]
    arm = toy_arm(driver)
    study = driver.new_study(arm, rows, 20)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE"]
    assert study.best_value == 0.3


def test_a_range_of_which_earlier_trials_knew_nothing_had_the_default_there(driver):
    row = {"objective": "0.3", "settings": json.dumps({"learning_rate": 0.5}), "curve": "", "pruned": ""}
    arm, more = toy_arm(driver), {"weights_average": {"choice": [None, 0.9]}}
    wider = replace(arm, space=arm.space | more, first={"learning_rate": 0.5})
    (trial,) = driver.new_study(wider, [row], 20).trials  # the first settings were tried
    assert trial.params == {"learning_rate": 0.5, "weights_average": None}
    again = driver.new_study(wider, [{**row, "curve": '{"24": 0.3}', "pruned": "24"}], 20).trials
    assert [trial.state.name for trial in again] == ["WAITING", "PRUNED"]  # no verdict on the first settings


def test_a_run_keeps_what_another_one_records_meanwhile_and_drops_what_is_chosen_no_more(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "read_plans", lambda: {"toys": {"seeds": [7, 8], "arms": {"A": {}, "B": {}}}})
    monkeypatch.setattr(driver, "read_arm", lambda board, name: name)
    monkeypatch.setattr(driver, "_config_of", lambda arm, seed, given: (arm, seed))
    chosen, asked, values = {"A": 1, "B": 1}, [], {"model/separate": 0.1}

    def entry(config):
        name, seed = config
        return SimpleNamespace(config=config, record={"config_hash": f"{name}{chosen[name]}-{seed}"})

    def run_entries(entries, *others):
        folders = []
        for one in entries:
            asked.append(one.record["config_hash"])
            name, seed = one.config
            folders.append(
                write_run(tmp_path / "saved", name, seed, values, name=asked[-1], label=name, config_hash=asked[-1])
            )
            if asked[-1] == "A1-7":
                driver.run("toys", ["B"], 1, {"checkpoint_dir": tmp_path / "saved"})
        return [run for run in runs_below(tmp_path / "saved") if run.folder in folders]

    def hashes_of(config, schema):
        return {"config": entry(config).record["config_hash"] + ("" if schema == 2 else ", schema 1")}

    monkeypatch.setattr(driver, "entry_of", entry)
    monkeypatch.setattr(driver, "run_hashes", hashes_of)
    monkeypatch.setattr(driver, "run_entries", run_entries)
    records = tmp_path / "results" / "toys" / "runs.jsonl"
    for name in chosen:
        driver.settings_file("toys", name).parent.mkdir(parents=True, exist_ok=True)
        driver.settings_file("toys", name).write_text("{}")

    def recorded():
        return sorted(run.result["config_hash"] for run in read_runs(records))

    driver.run("toys", ["A"], 1, {"checkpoint_dir": tmp_path / "saved"})
    assert recorded() == ["A1-7", "A1-8", "B1-7", "B1-8"]
    driver.run("toys", ["A", "B"], 1, {"checkpoint_dir": tmp_path / "saved"})
    assert asked == ["A1-7", "B1-7", "B1-8", "A1-8"]
    chosen["B"] = 2
    driver.run("toys", ["A"], 1, {"checkpoint_dir": tmp_path / "saved"})
    assert recorded() == ["A1-7", "A1-8", "B1-7", "B1-8"], "B has not been run again"
    driver.run("toys", ["B"], 1, {"checkpoint_dir": tmp_path / "saved"})
    assert recorded() == ["A1-7", "A1-8", "B2-7", "B2-8"]
    chosen |= {"A": 3, "B": 3}
    for name in chosen:
        write_run(tmp_path / "old", name, 7, values, label=name, config_hash=f"{name}3-7, schema 1", schema=1)
    records.write_text(runs_jsonl(runs_below(tmp_path / "old")))
    driver.run("toys", ["A"], 1, {"checkpoint_dir": tmp_path / "saved"})
    assert recorded() == ["A3-7", "A3-8", "B3-7, schema 1"]


def test_trials_of_an_earlier_schema_count_for_models_alone_only(driver, tmp_path):
    path = tmp_path / "trials.csv"
    path.write_text("arm,trial,seed,objective\nBD,0,7,0.5\n")
    driver.append_row(path, {"arm": "BD", "trial": 1, "seed": 7, "objective": 0.6, "schema": 2})
    rows = driver.read_rows(path)
    assert [(row["trial"], row["objective"], row["schema"]) for row in rows] == [("0", "0.5", "1"), ("1", "0.6", "2")]
    arms = [driver.Arm("toys", "BD", {"model": model}, {}, ("student",), {}) for model in ("BD", "BPR")]
    assert [[driver.is_comparable(arm, row) for row in rows] for arm in arms] == [[False, True], [True, True]]
    assert driver.is_comparable(arms[1], {"trial": "0"})


def test_rows_of_the_published_form_have_the_published_values(evidence):
    given = {"data_path": "dataset", "checkpoint_dir": "saved"}
    of_bpr = {"temperature": 5.0, "eps_t": 1e-2, "eps_e": 1e-4, "samples_per_positive": 1, "refresh_period": 10}
    of_cdae = {**of_bpr, "temperature": 2.0, "eps_t": 1e-4, "samples_per_positive": 5, "samples_of_user": "own"}
    for board, plan in BOARDS.items():
        for name in {"BD (paper)", "BD (public code)"} & {*plan["arms"]}:
            config = evidence._config_of(evidence.read_arm(board, name), 2020, given)
            is_cdae = board.endswith("-cdae")
            values = {**(of_cdae if is_cdae else of_bpr), "lambda_teacher_to_student": 2.5 if is_cdae else 0.5}
            assert {key: config[key] for key in values} == values, board
            assert config["lambda_student_to_teacher"] == config["lambda_teacher_to_student"]
            order = "paper" if name == "BD (paper)" else "reference"
            assert config["rank_order_teacher_to_student"] == config["rank_order_student_to_teacher"] == order
            assert config["distill_epochs"] == (1000 if is_cdae else 100)
            assert config["early_stopping"] == "none"
            for role in ("teacher", "student"):
                own = config.role(role)
                assert (own["distill_batch_size"], own["distill_weight_decay"]) == (128, 0), board
                assert own["distill_learning_rate"] == (2e-3 if is_cdae else 1e-3)


def test_the_curve_over_lambda_has_the_trials_of_the_first_seed(evidence):
    lambdas = importlib.import_module("evidence_lambda")
    trial = {"arm": "BD (paper), searched", "seed": "1", "teacher": "0.3", "student": "0.1", "pruned": ""}

    def row(weight, **more):
        return {**trial, "settings": json.dumps(dict.fromkeys(lambdas.LAMBDAS.values(), weight)), **more}

    rows = [row(2.0), row(0.5, teacher="0.4"), row(0.1, seed="2"), row(0.2, pruned="24"), row(0.3, teacher="")]
    rows += [row(0.0, arm="continued alone", teacher="0.35"), row(0.0, arm="continued alone", teacher="0.5", seed="2")]
    assert lambdas.lambda_points(rows, trial["arm"], "teacher") == [(0.5, 0.4), (2.0, 0.3)]
    assert lambdas.continued_alone(rows, "teacher") == 0.35
    assert lambdas.lambda_picture(rows).startswith(b"\x89PNG")
    assert lambdas.lambda_picture(rows[-1:]) is None


def test_an_arm_of_which_a_seed_is_missing_is_on_no_page(evidence):
    runs = [SimpleNamespace(result={"label": label, "seed": seed}) for label, seed in [("A", 1), ("B", 1), ("A", 2)]]
    assert evidence.whole_arms(runs, [1, 2]) == [runs[0], runs[2]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "unknown board None: must be one of"),
        (["run", "citeulike-bpr", "BDD"], "citeulike-bpr has no arm 'BDD'"),
        (["tune", "citeulike-bpr", "BD", "--data_path=nowhere"], "nowhere/citeulike does not exist: name the"),
        (["run", "citeulike-bpr", "BD", "--data_path=."], "run `tune citeulike-bpr 'teacher'` first"),
    ],
)
def test_what_the_driver_cannot_do_is_one_line(words, said, evidence, tmp_path, monkeypatch, capsys):
    (tmp_path / "citeulike").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evidence, "settings_file", lambda board, name: tmp_path / board / "settings" / f"{name}.yaml")
    monkeypatch.setattr("sys.argv", ["evidence.py", *words])
    try:
        code = evidence.main()
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


# Options with which the shipped form costs less than the one that was found, at the same validation.
CHEAPER = {"refresh_period", "samples_per_positive_student_to_teacher"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dataset", "topk"), [("citeulike", [50, 100]), ("ml-1m", [10])])
def test_the_defaults_on_real_data_are_what_was_found(dataset, topk, method, evidence):
    given = {"data_path": "dataset", "checkpoint_dir": "saved"}
    if method not in evidence.read_plans()[f"{dataset}-bpr"]["arms"]:  # not searched, so nothing was found
        assert method not in load_yaml(ROOT / "properties" / "dataset" / f"{dataset}.yaml")
        return
    found = evidence._config_of(evidence.read_arm(f"{dataset}-bpr", method), 2020, given)
    shipped = make_config({"dataset": dataset, "model": method, "topk": topk, "seed": 2020, **given})
    beside = {"threads", "show_progress", "checkpoint_every", "label", "controls", "stop_on"}
    beside |= CHEAPER if method == "BD" else set()
    for name, config in (("", shipped), *((role, shipped.role(role)) for role in shipped.backbones)):
        of_arm = found.role(name) if name else found
        differing = {key for key, value in config.final_config_dict.items() if value != of_arm[key]} - beside
        assert not differing, name


@pytest.mark.slow
def test_no_arm_changes_with_what_is_shipped_for_the_data_set(evidence, monkeypatch):
    given = {"data_path": "dataset", "checkpoint_dir": "saved"}
    other = {"eps_e": 7.0, "student": {"distill_weight_decay": 7}}

    def changed(path):
        values = load_yaml(path)
        return {**values, "BD": {**values["BD"], **other}} if path.name == "citeulike.yaml" else values

    def arms():
        names = ("BD", "BD, to the teacher", "BD (paper)", "continued alone")
        return [evidence._config_of(evidence.read_arm("citeulike-bpr", name), 2020, given).as_dict() for name in names]

    before = arms()
    for module in ("recbole_bd.config.config", "evidence"):
        monkeypatch.setattr(f"{module}.load_yaml", changed)
    assert make_config({"dataset": "citeulike", "model": "BD"})["eps_e"] == 7.0
    assert arms() == before


@pytest.mark.parametrize(
    ("dataset", "backbone", "role", "board"),
    [("citeulike", "CDAE", "teacher", "citeulike-cdae"), ("citeulike", "CDAE", "student", "citeulike-cdae")],
)
def test_the_shipped_backbones_are_what_was_found(dataset, backbone, role, board):
    shipped = load_yaml(ROOT / "properties" / "dataset" / f"{dataset}.yaml")["backbones"][backbone][role]
    sizes = BOARDS[board]["sizes"][role]
    assert shipped == {**sizes, **load_yaml(ROOT / "results" / board / "settings" / f"{role}.yaml")}


@pytest.mark.parametrize(
    ("dataset", "role", "size", "more"),
    [("citeulike", "teacher", 50, {"stopping_epochs": 40}), ("ml-1m", "teacher", 64, {}), ("ml-1m", "student", 8, {})],
)
def test_the_shipped_softmax_models_are_what_was_found(dataset, role, size, more):
    shipped = load_yaml(ROOT / "properties" / "dataset" / f"{dataset}.yaml")["backbones"]["MF"][role]
    found = load_yaml(ROOT / "results" / f"{dataset}-alone" / "settings" / f"MF {size}.yaml")
    assert shipped == {"embedding_size": size, **more, **found}


@pytest.mark.slow
@pytest.mark.parametrize(
    "board", [pytest.param(board, marks=needs_data(BOARDS[board]["settings"]["dataset"])) for board in RECORDED]
)
def test_what_is_recorded_are_runs_of_the_settings_chosen(board, evidence):
    given = {"data_path": str(SHARED_DATA), "checkpoint_dir": "saved"}
    for run in read_runs(ROOT / "results" / board / "runs.jsonl"):
        label, seed = run.result["label"], run.result["seed"]
        controls = with_todays(run.settings, board)["controls"]  # the arms may ask for more of them since
        config = evidence._config_of(evidence.read_arm(board, label), seed, {**given, "controls": controls})
        assert run.result["config_hash"] == run_hashes(config, run.result["schema"])["config"], (label, seed)
        assert seed in BOARDS[board]["seeds"]


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED, reason="results/ holds no records of runs")
def test_the_shipped_pages_are_what_their_records_give(evidence, tmp_path):
    out = tmp_path / "results"
    tables = {"docs/methods/index.md": ["students"]}
    for name, (_, pages) in evidence.TABLES.items():
        for page in pages:
            tables.setdefault(page, []).append(name)
    for page, names in tables.items():
        text = (ROOT / page).read_text()
        for name in names:
            text, found = re.subn(f"(<!-- {name} -->\n).*(<!-- /{name} -->)", r"\1\2", text, flags=re.DOTALL)
            assert found == 1, (page, name)
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(text)
    evidence.pages(out)
    made = [path.relative_to(out) for path in out.rglob("*") if path.suffix in (".md", ".csv", ".tex", ".html")]
    records = {board: read_runs(ROOT / "results" / board / "runs.jsonl") for board in RECORDED}
    begun = {board for board, runs in records.items() if not evidence.whole_arms(runs, BOARDS[board]["seeds"])}
    assert {path.parent.name for path in made} - {""} >= set(RECORDED) - begun
    for path in made:
        assert (out / path).read_text() == (ROOT / "results" / path).read_text(), path
    for page in tables:
        assert (tmp_path / page).read_text() == (ROOT / page).read_text(), page
    for row in ("BD (paper), searched", "BD, to the student", "BD, listwise"):
        assert f"| {row} | " in (ROOT / "README.md").read_text()


@pytest.fixture
def check_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evidence_check")


def test_a_value_beyond_which_no_trial_went_is_named(check_module):
    space = {
        "lambda_teacher_to_student": {"loguniform": [0.1, 100.0]},
        "temperature": {"choice": [0.5, 1.0, 2.0]},
        "distill_weight_decay": {"choice": [0.0, 1e-7, 1e-6]},
        "items": {"choice": ["student_top", "all"]},
        "annealing_epochs": {"quniform": [10, 100, 10]},
        "exchange": "listwise",
    }
    options = options_of_run("BD") | options_of_run("DE")
    best = {
        "lambda_teacher_to_student": 79.0, "temperature": 0.5, "distill_weight_decay": 0.0, "items": "all",
        "annealing_epochs": 50,
    }  # fmt: skip

    def lines(**changed) -> list[str]:
        values = {"lambda_teacher_to_student": (0.2, 80.0), "temperature": (1.0, 2.0), "distill_weight_decay": (1e-7,)}
        values |= {"annealing_epochs": (10, 100), **changed}
        length = max(map(len, values.values()))
        tried = [{key: some[i % len(some)] for key, some in values.items()} for i in range(length)]
        return list(check_module.at_edges(space, best, [best, *tried], options))

    # 80 is no further than 79 on a range of three decades; a weight decay of 0 has nothing below it.
    edges = ["lambda_teacher_to_student=79 is the greatest tried", "temperature=0.5 is the least tried"]
    assert lines() == edges
    assert lines(lambda_teacher_to_student=(0.2, 99.0)) == edges[1:]
    assert lines(lambda_teacher_to_student=(0.2, 99.0), temperature=(0.3, 1.0)) == []
    assert lines(annealing_epochs=(10, 40))[2:] == ["annealing_epochs=50 is the greatest tried"]


def test_a_stage_that_was_best_in_its_last_epoch_is_named(check_module):
    def run(seed, student, teacher=3):
        settings = {"epochs": 20, "distill_epochs": 10, "student": {"epochs": 30}}
        stages = {"separate": {"best_epoch": 19}, "distilled": {"best_epoch": student}}
        result = {"label": "BD", "seed": seed, "student": stages, "teacher": {"distilled": {"best_epoch": teacher}}}
        return SimpleNamespace(result=result, settings=settings)

    runs = [run(2021, 9), run(2020, 9), run(2022, 8, 9), run(2023, 5)]
    assert list(check_module.at_the_end(runs)) == [
        ("BD", "student distilled: best epoch 10 of 10 (seeds 2020, 2021)"),
        ("BD", "teacher distilled: best epoch 10 of 10 (seeds 2022)"),
    ]


def test_the_check_of_a_board_exits_with_1_if_there_is_any(evidence, capsys):
    assert evidence.check(["citeulike-bpr"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == sorted(lines)
    assert all(line.startswith("citeulike-bpr, ") for line in lines)
    assert "citeulike-bpr, BD: top_temperature=200 is the greatest tried" in lines


def test_an_arm_like_another_keeps_its_best_settings_but_for_what_it_searches(evidence):
    best = evidence.chosen(evidence.settings_file("citeulike-bpr", "BD"))
    arm, bd = (evidence.read_arm("citeulike-bpr", name) for name in ("BD, uniform to the teacher", "BD"))
    assert arm.space.keys() > {"lambda_student_to_teacher", "teacher.distill_learning_rate"}
    assert not any("teacher_to_student" in key or key.startswith("student.") for key in arm.space)
    assert {key: arm.fixed[key] for key in best} == best
    changed = {"controls", "sampling_student_to_teacher"}
    assert {key for key in arm.fixed if key in bd.fixed and arm.fixed[key] != bd.fixed[key] != best.get(key)} <= changed
    assert arm.fixed["sampling_student_to_teacher"] == "uniform"


def test_a_page_without_the_marks_of_its_table_is_refused(evidence, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("<!-- headline -->\nold\n<!-- /headline -->\nend\n")
    evidence.fill(page, "headline", "new\n")
    assert page.read_text() == "<!-- headline -->\nnew\n<!-- /headline -->\nend\n"
    with pytest.raises(ValueError, match=r"there are no lines <!-- other --> and <!-- /other --> to fill; add them"):
        evidence.fill(page, "other", "new\n")
    assert page.read_text().endswith("<!-- /headline -->\nend\n")
    evidence.fill(tmp_path / "absent.md", "headline", "new\n")
    assert not (tmp_path / "absent.md").exists()
