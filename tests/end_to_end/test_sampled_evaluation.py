"""Sampled evaluation: all arms, roles, validations and methods of a seed are measured on the same candidates."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_bd import paired, run_bd
from recbole_bd.data.split import load_split
from recbole_bd.errors import ComparisonError, RunFolderError
from recbole_bd.runs.progress import Progress
from recbole_bd.system.sealed_archive import load_archive, save_archive
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.resuming import Killed, run_differences, writes_counted
from tests.helpers.settings import alone, for_method, make_config

MODES = ["uni5", "pop5"]
FROZEN = {"epochs": 1, "distill_epochs": 2, "distill_learning_rate": 1e-12, "distill_weight_decay": 0.0}


def sampled(quick: dict, mode: str, method: str = "BD", **more) -> dict:
    """Settings of a run whose roles do not move in the distillation stage."""
    settings = {**quick, **FROZEN, "model": method, "eval_args": {"mode": mode}, "metrics": ["MRR", "NDCG"], **more}
    if method == "BPR":
        return {key: value for key, value in alone(settings).items() if "distill" not in key} | {"embedding_size": 8}
    return for_method(settings, method)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_same_weights_have_the_same_metrics_in_all_arms(mode, quick):
    result = run_bd(config_dict=sampled(quick, mode))
    values = np.load(Path(result["run_folder"]) / "per_user.npz")
    for role in ("teacher", "student"):
        arms = [result[role][arm] for arm in ("separate", "continued", "distilled")]
        assert arms[0]["test"] == arms[1]["test"] == arms[2]["test"]
        assert arms[0]["valid"] == arms[1]["valid"] == arms[2]["valid"]
        for arm in ("continued", "distilled"):
            assert np.array_equal(values[f"{role}/{arm}/ndcg@5"], values[f"{role}/separate/ndcg@5"])
        rows = Progress.load(Path(result["run_folder"])).journal["validations"]
        assert len({row["ndcg@5"] for row in rows if row["role"] == role}) == 1
    wins = result["student_wins"]
    assert wins["separate"] == wins["distilled"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_methods_and_baselines_of_a_seed_share_their_candidates(mode, quick):
    results = {method: run_bd(config_dict=sampled(quick, mode, method)) for method in ("BD", "RD", "BPR")}
    candidates = [result["data"]["candidates"] for result in results.values()]
    assert candidates[0] == candidates[1] == candidates[2]
    assert candidates[0]["valid"] != candidates[0]["test"]
    teachers = [results[method]["teacher"]["separate"]["test"] for method in ("BD", "RD")]
    assert teachers[0] == teachers[1] == results["BPR"]["model"]["separate"]["test"]
    other = run_bd(config_dict=sampled(quick, mode, "BPR", seed=3))
    assert other["data"]["candidates"] != candidates[0]


@pytest.mark.parametrize("mode", MODES)
def test_candidates_depend_on_no_training_setting(mode, quick):
    def candidates(**more) -> dict:
        return load_split(make_config({**quick, "eval_args": {"mode": mode}}, **more)).statistics()["candidates"]

    expected = candidates()
    negatives = {"distribution": "popularity", "sample_num": 2, "alpha": 0.3}
    for more in (
        {"worker": 1}, {"eval_batch_size": 1}, {"train_batch_size": 7}, {"teacher_model": "LightGCN"},
        {"train_neg_sample_args": negatives}, {"topk": [3], "valid_metric": "NDCG@3"},
    ):  # fmt: skip
        assert candidates(**more) == expected, more
    assert candidates(seed=3)["test"] != expected["test"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_no_number_depends_on_workers_or_the_size_of_batches(mode, quick, tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._PAIRS_CACHED", 50)  # several batches
    settings = sampled(quick, mode, student_model="NeuMF", **{"student.mlp_hidden_size": [4]})
    del settings["student.embedding_size"]
    results = [
        run_bd(config_dict={**settings, "eval_batch_size": size, "checkpoint_dir": str(tmp_path / str(size))})
        for size in (4096000, 1)
    ]
    for role in ("teacher", "student"):
        assert results[0][role] == results[1][role]


@pytest.mark.slow
def test_training_is_the_same_whatever_is_measured(quick):
    """Validation draws nothing: with a fixed number of epochs the models are those of full ranking."""
    settings = {**quick, "stopping_step": 100, "distill_epochs": 0, "epochs": 3, "control": False}
    losses = []
    for mode in ("full", "uni5", "pop5"):
        result = run_bd(config_dict={**settings, "eval_args": {"mode": mode}})
        losses.append(Progress.load(Path(result["run_folder"])).journal["losses"])
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", *MODES])
def test_ranks_of_held_out_items_are_those_that_the_metrics_measure(mode, quick, tmp_path):
    """A user's MRR is 1 / the best rank of a test item. Interactions repeat within and over parts; no score ties."""
    write_inter(tmp_path, "twice", block_pairs() + block_pairs(per_user=4, seed=2))
    data = {"dataset": "twice", "data_path": str(tmp_path)}
    for more in ({}, {"repeatable": True}):
        more = {**data, "eval_args": {"split": {"RS": [0.5, 0.2, 0.3]}, "mode": mode}, **more}
        settings = {**quick, "metrics": ["MRR"], "topk": [48], "valid_metric": "MRR@48", "distill_epochs": 1, **more}
        folder = Path(run_bd(config_dict=settings)["run_folder"])
        ranks, values = (np.load(folder / f"{name}.npz") for name in ("test_ranks", "per_user"))
        for role in ("teacher", "student"):
            best: dict[str, float] = {}
            for user, rank in zip(ranks["user"], ranks[f"{role}_separate"], strict=True):
                best[user] = min(rank, best.get(user, np.inf))
            expected = [1 / best[user] for user in values["users"]]
            assert values[f"{role}/separate/mrr@48"] == pytest.approx(expected)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_the_same_candidates(quick, tmp_path):
    settings = {**quick, "eval_args": {"mode": "uni5"}, "epochs": 2, "distill_epochs": 2, "warmup_cache": False}
    whole = run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / "whole")})
    for number in (2, 8):
        mine = {**settings, "checkpoint_dir": str(tmp_path / str(number))}
        with writes_counted(number, Killed()), pytest.raises(Killed):
            run_bd(config_dict=mine)
        torch.rand(3)
        (folder,) = Path(mine["checkpoint_dir"]).glob("BD-*")
        assert run_differences(whole, run_bd(resume=folder)) == []


def test_a_run_of_an_earlier_version_does_not_go_on_with_other_candidates(quick):
    settings = {**quick, "eval_args": {"mode": "uni5"}, "epochs": 2, "distill_epochs": 2, "warmup_cache": False}
    with writes_counted(3, Killed()), pytest.raises(Killed):
        run_bd(config_dict=settings)
    (folder,) = Path(settings["checkpoint_dir"]).glob("BD-*")
    content = load_archive(folder / "last.ckpt")
    assert content["record"].pop("evaluation") == {"candidates": "shared"}
    save_archive(folder / "last.ckpt", content)
    with pytest.raises(RunFolderError, match="cannot resume: an earlier version started it"):
        run_bd(resume=folder)


def test_users_measured_on_other_candidates_are_no_pairs(quick):
    five, six, full = (
        run_bd(config_dict=sampled(quick, mode, "BPR"))["run_folder"] for mode in ("uni5", "uni6", "full")
    )
    for other in (six, full):
        with pytest.raises(ComparisonError, match="ranked the test items among other candidates"):
            paired(five, other)
    other_negatives = {"train_neg_sample_args": {"distribution": "popularity"}}
    same = run_bd(config_dict=sampled(quick, "uni5", "BPR", **other_negatives))["run_folder"]
    assert len(paired(five, same)[0]) == 60
