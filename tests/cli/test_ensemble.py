"""`recbole-bd ensemble` as a user meets it."""

import json
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.runs.records import read_result
from tests.helpers.histories import SHORT, write_chains
from tests.helpers.settings import QUICK, alone


def test_two_roles_of_a_run_and_their_mean(trained_run, cli):
    code, out, err = cli("ensemble", trained_run)
    assert (code, err) == (0, "")
    result = read_result(Path(trained_run))
    lines = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    for name, role in (("first", "teacher"), ("second", "student")):
        about = result[role]["distilled"]
        shown = [about["valid"]["ndcg@5"], about["test"]["hit@5"], about["test"]["ndcg@5"]]
        assert lines[name][1:] == [f"{value:.4f}" for value in shown]
        assert f"{name}: {result[role]['model']}, " in out
    tested = [share for share in ("0.25", "0.50", "0.75") if len(lines[f"mean, {share} of the first"]) > 6]
    assert len(tested) == 1, "the test part is read for one share"
    assert "over users, p = " in out


def test_the_record_names_the_best_share_by_validation(trained_run, cli):
    found = json.loads(cli("ensemble", f"{trained_run}:student", f"{trained_run}/teacher.pth", "--json")[1])
    assert [Path(model["file"]).name for model in found["models"]] == ["student.pth", "teacher.pth"]
    assert found["metric"] == "ndcg@5"
    best = max(found["valid_by_share"].values())
    assert found["valid_by_share"][str(found["share"])] == best
    assert found["better"] == int(found["valid"][1] > found["valid"][0])
    assert 0 <= found["p"] <= 1


def test_a_general_and_a_sequential_model_of_one_run(tmp_path, cli):
    settings = {**SHORT, "data_path": str(write_chains(tmp_path)), "checkpoint_dir": str(tmp_path / "saved")}
    pair = {"teacher_model": "BPR", "student_model": "SASRec", "controls": []}
    folder = run_bd(config_dict={**settings, **pair})["run_folder"]
    code, out, err = cli("ensemble", folder)
    assert (code, err) == (0, "")
    result = read_result(Path(folder))
    for name, role in (("first", "teacher"), ("second", "student")):
        line = next(line for line in out.splitlines() if line.startswith(f"{name}  "))
        assert line.split()[1] == f"{result[role]['distilled']['valid']['ndcg@5']:.4f}"
    in_time = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
    settings |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "eval_args": in_time}
    other = run_bd("BPR", config_dict=alone(settings))["run_folder"]
    assert cli("ensemble", other, f"{folder}:student") == (
        2,
        "",
        f"recbole-bd: error: {folder}/student.pth also ranks items that the user has seen, as sequential models do, "
        f"and {other}/model.pth does not; train both in one run or one leaderboard\n",
    )


@pytest.mark.parametrize("mode", ["full", "uni15"])
def test_sequential_models_with_histories_of_different_lengths_keep_their_own_numbers(mode, tmp_path, cli):
    settings = alone({**SHORT, "data_path": str(write_chains(tmp_path)), "checkpoint_dir": str(tmp_path / "saved")})
    del settings["distill_epochs"], settings["backbones"]
    settings |= {"epochs": 1, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode}}
    short = {"MAX_ITEM_LIST_LENGTH": 3, "LIST_SUFFIX": "_before"}
    long = {"MAX_ITEM_LIST_LENGTH": 8}
    folders = [run_bd("GRU4Rec", config_dict={**settings, **more})["run_folder"] for more in (short, long)]
    results = [read_result(Path(folder))["model"]["separate"] for folder in folders]
    shares = []
    for order in (1, -1):  # the one with shorter histories first, and last
        code, out, err = cli("ensemble", *folders[::order], "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert found["valid"] == [about["valid"]["ndcg@5"] for about in results[::order]]
        assert [found["test"][role] for role in (0, 1)] == [about["test"] for about in results[::order]]
        shares.append(list(found["valid_by_share"].values()))
    assert shares[0] == shares[1][::-1], "the means do not depend on which model is first"


def test_models_of_other_splits_are_refused(block_data, trained_run, tmp_path, cli):
    settings = {**alone(QUICK), "data_path": str(block_data), "checkpoint_dir": str(tmp_path / "saved"), "seed": 1}
    other = run_bd("Pop", config_dict=settings)["run_folder"]
    assert cli("ensemble", f"{trained_run}:teacher", other) == (
        2,
        "",
        f"recbole-bd: error: {trained_run}/teacher.pth and {other}/model.pth were trained on other data or splits: "
        "name models of the same data, with the same seed or split_seed where the split is random\n",
    )
    same = {**settings, "seed": 2020, "metrics": ["MRR"], "valid_metric": "MRR@5"}
    other = run_bd("Pop", config_dict=same)["run_folder"]
    code, out, err = cli("ensemble", f"{trained_run}:teacher", other)
    assert (code, out) == (2, "")
    assert (
        f"{other}/model.pth was evaluated in mrr@5 and not in ndcg@5, which selected {trained_run}/teacher.pth" in err
    )
    sampled = run_bd("Pop", config_dict={**settings, "seed": 2020, "eval_args": {"mode": "uni20"}})["run_folder"]
    assert cli("ensemble", f"{trained_run}:teacher", sampled) == (
        2,
        "",
        f"recbole-bd: error: {trained_run}/teacher.pth and {sampled}/model.pth were evaluated among other items: name "
        "models of runs with the same eval_args, and the same split_seed or seed where candidates are sampled\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "ensemble takes two models, or a run with a teacher and a student, found 0"),
        (["RUN/teacher.pth"], "ensemble takes two models, or a run with a teacher and a student; RUN/"
         "teacher.pth is one model"),
        (["RUN:teacher"], "ensemble takes two models, or a run with a teacher and a student; RUN:teacher is one model"),
        (["RUN:student/distilled", "RUN:teacher"], "RUN:student/distilled: write @:role, the role one of teacher, "
         "student, model; a run keeps their final models"),
        (["RUN", "RUN"], "RUN has teacher and student: name one, such as RUN:teacher"),
        (["RUN:teacher", "RUN/teacher.pth"], "RUN/teacher.pth is named twice: name two models"),
        (["RUN:model", "RUN:teacher"], "RUN has no model, only teacher, student"),
        (["RUN:nobody", "RUN:teacher"], "RUN:nobody: write @:role, the role one of teacher, student, model"),
        (["RUNS:teacher", "RUN:teacher"], "RUNS:teacher is neither a run folder nor a model file"),
        (["RUN:teacher", "RUN:student", "RUN"],
         "ensemble takes two models, or a run with a teacher and a student, found 3"),
    ],
)  # fmt: skip
def test_other_words_are_refused_in_one_line(words, message, trained_run, cli):
    code, out, err = cli("ensemble", *(word.replace("RUN", trained_run) for word in words))
    assert (code, out) == (2, "")
    assert err.startswith(f"recbole-bd: error: {message.replace('RUN', trained_run).replace('@', 'RUN')}")
    assert err.count("\n") == 1
