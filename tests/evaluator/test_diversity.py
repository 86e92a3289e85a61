"""Metrics of recommended items: by hand, by another computation, and RecBole's own on request."""

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator, metrics_dict
from recbole.evaluator.collector import DataStruct

from recbole_bd import run_bd
from recbole_bd.evaluator.collector import ArrayCollector
from recbole_bd.evaluator.diversity import BY_NAME, DefinedEvaluator, redefined
from tests.helpers.finished import log_of
from tests.helpers.settings import alone, make_config

NAMES = ["ItemCoverage", "GiniIndex", "ShannonEntropy", "AveragePopularity", "TailPercentage"]
# Items 1 to 4; item 4 is never recommended. The second user has one item only.
LISTS = torch.tensor([[1, 2], [1, 0], [3, 1]])
COUNTS = {1: 8, 2: 2, 3: 5, 4: 1}


@pytest.fixture
def config(quick):
    def make(**more):
        settings = {**alone(quick), "metrics": NAMES, "topk": [1, 2], "valid_metric": "ItemCoverage@2"}
        return make_config(settings, model="BPR", **more)

    return make


def measured(evaluator: Evaluator, lists: torch.Tensor, n_items: int, counts: dict[int, int]) -> dict[str, float]:
    collected = DataStruct()
    for name, value in (("rec.items", lists), ("data.num_items", n_items), ("data.count_items", counts)):
        collected.set(name, value)
    return {key: float(value) for key, value in evaluator.evaluate(collected).items()}


def test_values_are_those_computed_by_hand(config):
    found = measured(DefinedEvaluator(config()), LISTS, 5, COUNTS)
    # Recommendations in ascending order: 0, 0, 1, 2 at 1, and 0, 1, 1, 3 at 2.
    first, both = np.array([2, 1]) / 3, np.array([3, 1, 1]) / 5
    assert found == pytest.approx(
        {
            "itemcoverage@1": 2 / 4, "itemcoverage@2": 3 / 4,
            "giniindex@1": (1 * 1 + 3 * 2) / (4 * 3), "giniindex@2": (-1 * 1 + 1 * 1 + 3 * 3) / (4 * 5),
            "shannonentropy@1": -(first * np.log(first)).sum(), "shannonentropy@2": -(both * np.log(both)).sum(),
            "averagepopularity@1": (8 + 8 + 5) / 3, "averagepopularity@2": (5 + 8 + 6.5) / 3,
            "tailpercentage@1": 0.0, "tailpercentage@2": 0.0,
        },
        abs=1e-6,
    )  # fmt: skip


def test_the_tail_is_counted_among_listed_items(config):
    own = config()
    own["tail_ratio"] = 3  # items 2 and 4
    found = measured(DefinedEvaluator(own), LISTS, 5, COUNTS)
    assert found["tailpercentage@2"] == pytest.approx(1 / 2 / 3, abs=1e-6)


def gini_by_differences(counts: np.ndarray) -> float:
    """Gini index as the mean absolute difference over twice the mean."""
    return float(np.abs(counts[:, None] - counts[None, :]).mean() / (2 * counts.mean()))


def test_bounds_and_other_definitions_agree(config):
    """Everyone gets all items: full coverage, no inequality, the greatest entropy. All get one item: the opposite."""
    evaluator = DefinedEvaluator(config(topk=[4], valid_metric="ItemCoverage@4"))
    equal = measured(evaluator, torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]]), 5, COUNTS)
    assert (equal["itemcoverage@4"], equal["giniindex@4"]) == (1.0, 0.0)
    assert equal["shannonentropy@4"] == pytest.approx(np.log(4), abs=1e-6)
    generator = torch.Generator().manual_seed(5)
    lists = torch.stack([1 + torch.randperm(40, generator=generator)[:4] for _ in range(30)]) // 2 + 1
    found = measured(evaluator, lists, 60, COUNTS)
    counts = torch.bincount(lists.flatten(), minlength=60)[1:].numpy()
    assert found["giniindex@4"] == pytest.approx(gini_by_differences(counts), abs=1e-6)
    assert found["itemcoverage@4"] == pytest.approx((counts > 0).mean(), abs=1e-6)


def test_recboles_values_are_there_on_request(config):
    asked = config(metrics_as="recbole")
    assert redefined(asked) == []
    lists = torch.tensor([[1, 2], [1, 4], [3, 1]])
    expected = measured(Evaluator(asked), lists, 5, COUNTS)
    assert measured(DefinedEvaluator(asked), lists, 5, COUNTS) == expected
    found = measured(DefinedEvaluator(config()), lists, 5, COUNTS)
    differing = {key.partition("@")[0] for key in found if found[key] != pytest.approx(expected[key])}
    assert differing == {"itemcoverage", "giniindex", "shannonentropy"}
    assert found["shannonentropy@2"] == pytest.approx(4 * expected["shannonentropy@2"], abs=1e-5)
    assert found["itemcoverage@1"] == pytest.approx(5 / 4 * expected["itemcoverage@1"], abs=1e-5)


@pytest.mark.parametrize(("metrics_as", "last"), [(None, [0, 0]), ("recbole", None)])
def test_excluded_items_are_not_recommended(metrics_as, last, config):
    """The second user has one item left; RecBole fills the list with excluded ones."""
    own = config(metrics_as=metrics_as, topk=[3], valid_metric="ItemCoverage@3")
    collector = ArrayCollector(own)
    scores = torch.tensor([[-torch.inf, 3, 2, 1, 0], [-torch.inf, -torch.inf, 5, -torch.inf, -torch.inf]])
    for _ in range(2):
        collector.eval_batch_collect(scores, None, torch.tensor([0, 1]), torch.tensor([1, 2]))
    lists = collector.get_data_struct()["rec.items"]
    assert lists[0].tolist() == lists[2].tolist() == [1, 2, 3]
    assert lists[1, 0] == lists[3, 0] == 2
    if last is not None:
        assert lists[1, 1:].tolist() == lists[3, 1:].tolist() == last
    else:
        assert set(lists[1, 1:].tolist()) <= {0, 1, 3, 4}
        assert lists[1, 1] != lists[1, 2]


def test_a_run_tells_once_that_its_values_are_not_recboles(quick):
    settings = {**alone(quick), "model": "BPR", "epochs": 2, "metrics": ["ItemCoverage", "Hit"]}
    told = "ItemCoverage: as they are defined, which is not as RecBole computes them (metrics_as: recbole is)"
    results = [
        run_bd(config_dict={**settings, "valid_metric": "Hit@5", **more}) for more in ({}, {"metrics_as": "recbole"})
    ]
    assert [log_of(result).count(told) for result in results] == [1, 0]
    own, recboles = (result["model"]["separate"]["test"]["itemcoverage@5"] for result in results)
    assert own == pytest.approx(recboles * 49 / 48, abs=1e-5)
    assert results[0]["config_hash"] != results[1]["config_hash"]


def test_every_metric_of_recbole_that_reads_lists_is_here():
    reading = {name for name, metric in metrics_dict.items() if metric.metric_need[0] == "rec.items"}
    assert reading == BY_NAME.keys()
    assert redefined({"metrics": ["Hit", "NDCG"], "metrics_as": None}) == []
