"""Sequential models as baseline, teacher and student."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

from recbole_bd import run_bd
from recbole_bd.backbones.names import PAIR
from recbole_bd.backbones.scoring.histories import _Histories
from recbole_bd.data.sequences import MEASURED, TRAINED
from recbole_bd.model import METHODS
from recbole_bd.runs.trained_model import load_trained
from tests.helpers.bounds import LONG
from tests.helpers.histories import SHORT, write_chains
from tests.helpers.resuming import Killed, run_differences, writes_counted
from tests.helpers.settings import for_method

QUICK = {
    **SHORT, "metrics": ["Hit", "NDCG"], "distill_epochs": 2,
    "backbones": {
        **SHORT["backbones"],
        "CDAE": {"teacher": {"embedding_size": 8}, "student": {"embedding_size": 4}},
    },
}  # fmt: skip
PAIRS = [("SASRec", "GRU4Rec"), ("SASRec", "BPR"), ("BPR", "GRU4Rec"), ("CDAE", "SASRec")]


@pytest.fixture(scope="module")
def data_path(tmp_path_factory) -> str:
    return str(write_chains(tmp_path_factory.mktemp("chains")))


@pytest.fixture
def chains(data_path, tmp_path) -> dict:
    """Settings of a run of a moment."""
    return {**QUICK, "data_path": data_path, "checkpoint_dir": str(tmp_path / "saved")}


def of_pair(settings: dict, pair: tuple[str, str]) -> dict:
    return {**settings, "teacher_model": pair[0], "student_model": pair[1]}


@pytest.mark.parametrize(("model", "loss"), [("SASRec", "CE"), ("GRU4Rec", "BPR")])
def test_a_baseline_measures_what_recbole_does(model, loss, chains, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x"])
    del chains["distill_epochs"], chains["refresh_period"], chains["checkpoint_seconds"]
    own = chains.pop("backbones")[model]["teacher"] | {"loss_type": loss, "epochs": 4, "eval_step": 4}
    # A warm-up starts from a random state of its own, so that dropout is not that of RecBole.
    rates = ("hidden_dropout_prob", "attn_dropout_prob") if model == "SASRec" else ("dropout_prob",)
    own |= dict.fromkeys(rates, 0.0)
    mine = run_bd(model, config_dict={**chains, **own, "seed": 7})
    negatives = {"train_neg_sample_args": None} if loss == "CE" else {}
    settings = {**chains, **own, **negatives, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    config = Config(model, "chains", config_dict={**settings, "use_gpu": False, "metric_decimal_place": 6})
    config["device"] = torch.device("cpu")
    init_seed(7, True)
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(7, True)
    trainer = Trainer(config, get_model(model)(config, train._dataset))
    trainer.fit(train, valid, verbose=False, saved=False, show_progress=False)
    theirs = trainer.evaluate(test, load_best_model=False)  # of the last epoch, the only one that is validated
    best = mine["model"]["separate"]
    assert best["valid"]["ndcg@5"] == pytest.approx(trainer.best_valid_score, abs=1e-6)
    assert {name: best["test"][name] for name in theirs} == pytest.approx(dict(theirs), abs=1e-6)
    assert theirs["ndcg@5"] > 0


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_of_both_kinds_finish_with_every_arm(pair, chains):
    result = run_bd(config_dict=of_pair(chains, pair))
    assert result["status"] == "finished"
    for role in PAIR:
        assert {"separate", "continued", "distilled"} <= result[role].keys()
        assert all(0 <= result[role][arm]["test"]["ndcg@5"] <= 1 for arm in ("separate", "continued", "distilled"))
    again = run_bd(resume="auto", config_dict=of_pair(chains, pair))
    assert again["run_folder"] == result["run_folder"]


def test_metrics_are_those_of_an_independent_computation_from_the_saved_states(chains):
    result = run_bd(config_dict=of_pair(chains, PAIRS[1]))
    for role in PAIR:
        trained = load_trained(Path(result["run_folder"]) / f"{role}.pth")
        split = trained.split
        users, items = (column.numpy() for column in split.pairs("test"))
        with trained.role.scoring(), trained.role.at(MEASURED):
            scores = trained.role.all_logits(torch.from_numpy(users)).numpy()
        scores[:, 0] = -np.inf
        own = scores[np.arange(len(users)), items]
        ranks = 1 + (scores > own[:, None]).sum(axis=1)
        ndcg = np.where(ranks <= 5, 1 / np.log2(ranks + 1), 0).mean()
        assert result[role]["distilled"]["test"]["ndcg@5"] == pytest.approx(ndcg, abs=1e-6)
        assert result[role]["distilled"]["test"]["hit@5"] == pytest.approx((ranks <= 5).mean(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS if LONG else ("CE", "DE", "DML", "RRD"))
def test_methods_take_a_sequential_pair(method, chains):
    settings = for_method(of_pair(chains, ("GRU4Rec", "GRU4Rec")), method)
    small = {"HetComp": {"top_items": 5, "rest_items": 5}, "DCD": {"list_length": 10, "corrected_items": 5}}
    small |= {"RCEKD": {"top_items": 5, "sampled_items": 5, "sampled_from": 20}}
    short = {"interesting_items": 9, "uninteresting_items": 9}
    small |= {name: small.get(name, {}) | short for name in ("RRD", "DCD")}
    result = run_bd(method, config_dict={**settings, **small.get(method, {}), "epochs": 1, "distill_epochs": 1})
    assert result["status"] == "finished"


@pytest.mark.parametrize("method", ["DE", "FTD", "HTD"])
def test_methods_of_embeddings_refuse_a_model_without_vectors(method, chains):
    with pytest.raises(Exception, match="BERT4Rec") as caught:
        run_bd(method, config_dict=for_method(of_pair(chains, ("BPR", "BERT4Rec")), method))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_killed_runs_of_a_sequential_pair_go_on_bitwise_equal(chains, tmp_path):
    settings = of_pair(chains, PAIRS[0])
    whole = run_bd(config_dict=settings)
    for number in (2, 5, 8, 11) if LONG else (8,):
        other = {**settings, "checkpoint_dir": str(tmp_path / f"killed {number}")}
        with writes_counted(number, Killed()), pytest.raises(Killed):
            run_bd(config_dict=other)
        assert run_differences(whole, run_bd(resume="auto", config_dict=other)) == [], number


def test_one_update_of_the_distillation_sees_only_training_items(chains, monkeypatch):
    """No score of the distillation stage reads a validation or test item."""
    points = set()
    original = _Histories.histories

    def histories(self, users):
        points.add((self._point, self.model.training))
        return original(self, users)

    monkeypatch.setattr(_Histories, "histories", histories)
    run_bd(config_dict={**of_pair(chains, PAIRS[0]), "controls": []})
    assert {point for point, _ in points} == {TRAINED, MEASURED}
    assert (MEASURED, True) not in points
    monkeypatch.undo()
    points.clear()
    monkeypatch.setattr(_Histories, "histories", histories)
    run_bd(config_dict={**of_pair(chains, PAIRS[0]), "controls": [], "exchange_at": "users"})
    assert {point for point, is_training in points if is_training} == {TRAINED}


def test_the_record_holds_the_settings_of_sequences(chains):
    result = run_bd(config_dict={**of_pair(chains, PAIRS[1]), "epochs": 1, "distill_epochs": 0})
    written = (Path(result["run_folder"]) / "config.yaml").read_text()
    assert "repeatable: true" in written
    assert "MAX_ITEM_LIST_LENGTH: 6" in written
    assert json.loads((Path(result["run_folder"]) / "result.json").read_text())["data"]["split"]["test"] == 60
