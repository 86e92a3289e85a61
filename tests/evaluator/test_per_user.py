"""Per-user values of the test part: whose they are, and that their means are RecBole's figures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.model.general_recommender import Pop
from recbole.trainer import Trainer

from recbole_bd import run_bd
from recbole_bd.data.split import load_split
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.runs.per_user import per_user
from tests.helpers.data import write_inter
from tests.helpers.finished import ROLES
from tests.helpers.settings import QUICK, alone, make_config

METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP"]
CUTS = [1, 3, 10]
SIX = {"metrics": METRICS, "topk": CUTS, "valid_metric": "NDCG@3"}


def long_tailed(folder: Path) -> dict:
    """Write a split whose users have 1 to 14 test items, in no order, with ids that sort in another; its settings."""
    generator = np.random.default_rng(3)
    parts = {"train": [], "valid": [], "test": []}
    for user in generator.permutation(70):
        items = generator.permutation(50)
        n_test = 1 if user % 3 else 2 + int(user) % 13
        for part, chosen in (("test", items[:n_test]), ("valid", items[14:16]), ("train", items[16:24])):
            parts[part] += [(f"u{user}", f"i{item}") for item in chosen]
    for part, pairs in parts.items():
        # Some users of the data have no test item at all.
        rest = [("only-train", "i1"), ("only-train", "i2")] if part == "train" else []
        write_inter(folder, "tailed", [*rest, *(pairs[i] for i in generator.permutation(len(pairs)))], part)
    return {"dataset": "tailed", "data_path": str(folder), "benchmark_filename": ["train", "valid", "test"]}


def measured(result: dict):
    """(role, arm, test metrics) of everything a run tested."""
    for role in ("teacher", "student", "model"):
        for arm in ("separate", "continued", "distilled"):
            if arm in result.get(role, {}):
                yield role, arm, result[role][arm]["test"]


def assert_means(result: dict, names: set[str]) -> None:
    users, values = per_user(result["run_folder"])
    expected = {f"{r}/{arm}/{name}": test[name] for r, arm, test in measured(result) for name in names}
    assert values.keys() == expected.keys()
    for key, array in values.items():
        assert array.dtype == np.float64
        assert array.shape == users.shape
        assert array.mean() == pytest.approx(expected[key], abs=0.50001e-6), key  # metric_decimal_place is 6


def in_batches_of(scores: int, monkeypatch) -> None:
    """Evaluate so many scores at a time."""
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._SCORES_CACHED", scores)
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._LEAST_USERS", 1)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4096000, 60])
@pytest.mark.parametrize("method", ["BD", "Pop", "BPR"])
def test_means_are_recboles_figures(method, batch, quick, tmp_path, monkeypatch):
    in_batches_of(batch, monkeypatch)
    settings = quick if method == "BD" else alone(quick)
    few = {"epochs": 1, "distill_epochs": 1}
    result = run_bd(method, config_dict={**settings, **long_tailed(tmp_path / "data"), **SIX, **few})
    names = {f"{metric.lower()}@{k}" for metric in METRICS for k in CUTS}
    assert_means(result, names)
    users, values = per_user(result["run_folder"])
    assert len(users) == 70
    assert len(values) == len(names) * (6 if method == "BD" else 1)


def by_hand(places: list[int], n_wanted: int, k: int) -> dict[str, float]:
    """The six metrics of one user from the places, from 1, of the wanted items in the list."""
    places = sorted(place for place in places if place <= k)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, n_wanted) + 1))
    return {
        "recall": len(places) / n_wanted,
        "mrr": 1 / places[0] if places else 0.0,
        "ndcg": sum(1 / math.log2(place + 1) for place in places) / ideal,
        "hit": float(bool(places)),
        "precision": len(places) / k,
        "map": sum((nth + 1) / place for nth, place in enumerate(places)) / min(k, n_wanted),
    }


@pytest.mark.parametrize("batch", [4096000, 24])
def test_each_value_is_its_users(batch, quick, tmp_path, monkeypatch):
    """Everyone is recommended i0, i1, ... in this order, so what each user's list is worth is known."""
    in_batches_of(batch, monkeypatch)
    monkeypatch.setattr(
        Pop, "full_sort_predict", lambda self, batch: -torch.arange(self.n_items).float().repeat(len(batch), 1)
    )
    crowd = [(f"fan{fan}", f"i{item}") for item in range(14) for fan in range(20 - item)]
    tested = {"zoë": [3], "10": [0, 1], "9": [11], "a": [5, 2, 7, 0], "B": list(range(12)), "2": [1]}
    # Items are numbered as they appear; the first, which all of these have in training, is in no list.
    train = [*((user, "known") for user in reversed(tested)), *crowd]
    shuffled = [("a", 5), ("zoë", 3), ("B", 0), ("10", 1), ("a", 2), ("2", 1), ("9", 11), ("a", 7), ("10", 0), ("a", 0)]
    test = [(user, f"i{item}") for user, item in shuffled] + [("B", f"i{item}") for item in range(1, 12)]
    for part, pairs in (("train", train), ("valid", [("fan19", "known")]), ("test", test)):
        write_inter(tmp_path / "data", "known", pairs, part)
    data = {"dataset": "known", "data_path": str(tmp_path / "data"), "benchmark_filename": ["train", "valid", "test"]}
    result = run_bd("Pop", config_dict={**alone(quick), **SIX, **data})
    users, values = per_user(result["run_folder"])
    assert users.dtype.kind == "U"
    assert users.tolist() == ["2", "B", "a", "9", "10", "zoë"]  # in the order of first appearance in the data
    for row, user in enumerate(users):
        for k in CUTS:
            for name, value in by_hand([item + 1 for item in tested[user]], len(tested[user]), k).items():
                assert values[f"model/separate/{name}@{k}"][row] == pytest.approx(value), (user, name, k)
    assert_means(result, {f"{metric.lower()}@{k}" for metric in METRICS for k in CUTS})


def test_metrics_that_are_no_means_over_users_are_left_out(quick):
    metrics = ["NDCG", "GAUC", "ItemCoverage", "AveragePopularity", "TailPercentage"]
    result = run_bd("BPR", config_dict={**alone(quick), "metrics": metrics, "epochs": 1})
    assert {"gauc", "itemcoverage@5", "averagepopularity@5", "tailpercentage@5"} <= result["model"]["separate"][
        "test"
    ].keys()
    assert_means(result, {"ndcg@5"})


def test_without_such_a_metric_there_is_no_file(quick):
    result = run_bd("Pop", config_dict={**alone(quick), "metrics": ["GAUC"], "valid_metric": "GAUC"})
    assert result["status"] == "finished"
    assert not (Path(result["run_folder"]) / "per_user.npz").exists()


def test_ranking_among_sampled_items(quick, tmp_path):
    sampled = {"eval_args": {"mode": "uni10"}, "eval_batch_size": 64}
    result = run_bd("BPR", config_dict={**alone(quick), **long_tailed(tmp_path), **SIX, **sampled, "epochs": 1})
    assert_means(result, {f"{metric.lower()}@{k}" for metric in METRICS for k in CUTS})
    users, values = per_user(result["run_folder"])
    assert len(set(users)) == len(users) == 70
    # Precision over recall is the number of wanted items over k: it says whose row it is.
    split = load_split(make_config({**alone(quick), **long_tailed(tmp_path)}))
    wanted = np.bincount(split.pairs("test")[0], minlength=split.n_users)[split.dataset.token2id("user_id", users)]
    precision, recall = (values[f"model/separate/{name}@10"] for name in ("precision", "recall"))
    assert precision * 10 == pytest.approx(recall * wanted)
    assert len(set(wanted)) > 5


@pytest.mark.slow
def test_the_file_is_plain_and_the_record_has_the_fingerprint(quick):
    result = run_bd(config_dict={**quick, "epochs": 1, "distill_epochs": 1})
    folder = Path(result["run_folder"])
    with np.load(folder / "per_user.npz", allow_pickle=False) as stored:
        assert {stored[key].dtype.kind for key in stored.files} == {"U", "f"}
        assert "student/distilled/ndcg@5" in stored.files
    fingerprint = json.loads((folder / "result.json").read_text())["data"]["fingerprint"]
    assert fingerprint == load_split(make_config(quick)).fingerprint


@pytest.mark.slow
def test_nothing_is_evaluated_twice(quick, monkeypatch):
    loaders = []
    original = Trainer.evaluate
    monkeypatch.setattr(
        Trainer, "evaluate", lambda self, data, *a, **k: loaders.append(id(data)) or original(self, data, *a, **k)
    )
    result = run_bd(config_dict={**quick, "epochs": 1, "distill_epochs": 1})
    # Three arms of two roles on the test part, but for the states that are the start's; validation has its own loader.
    later = [result[role][arm]["best_epoch"] for role in ROLES for arm in ("distilled", "continued")]
    assert loaders.count(loaders[-1]) == 6 - later.count(-1)
    loaders.clear()
    result = run_bd(config_dict={**quick, "epochs": 1, "distill_epochs": 0})
    assert len(loaders) == 4  # both roles on both parts, after warm-ups from the cache
    _, values = per_user(result["run_folder"])
    with np.load(Path(result["run_folder"]) / "test_ranks.npz") as ranks:
        for role in ROLES:
            assert np.array_equal(ranks[f"{role}_distilled"], ranks[f"{role}_separate"])
            for arm in ("distilled", "continued"):
                assert result[role][arm] == {**result[role]["separate"], "best_epoch": -1}
                assert np.array_equal(values[f"{role}/{arm}/ndcg@5"], values[f"{role}/separate/ndcg@5"])


def test_batches_in_any_order_give_users_in_order(block_data):
    split = load_split(make_config({**QUICK, "data_path": str(block_data)}))
    one, other = PerUser(split), PerUser(split)
    one.add("model/separate", [torch.tensor([5, 1]), torch.tensor([3])], {"hit@1": np.array([50, 10, 30])})
    other.add("model/separate", [torch.tensor([1, 3, 5])], {"hit@1": np.array([10, 30, 50])})
    assert one.users.tolist() == other.users.tolist() == split.dataset.id2token("user_id", [1, 3, 5]).tolist()
    assert one.values["model/separate/hit@1"].tolist() == other.values["model/separate/hit@1"].tolist() == [10, 30, 50]
