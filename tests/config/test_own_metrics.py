"""Metrics of the user's own."""

from importlib.metadata import EntryPoint

import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metrics_dict

from recbole_bd.config.own_metrics import (
    RECBOLE_METRICS,
    add_own_metrics,
    own_metric,
    result_name,
    smaller_is_better,
)
from recbole_bd.errors import ConfigError
from recbole_bd.system import own_classes
from tests.helpers.own_classes import FirstHit
from tests.helpers.settings import QUICK, alone, make_config

OWN = "tests.helpers.own_classes"


def test_recboles_metrics_are_no_ones_own():
    assert {"recall", "ndcg", "giniindex", "auc"} <= RECBOLE_METRICS
    assert own_metric("Recall") is None
    assert own_metric("nothing") is None
    assert result_name("NDCG") == "ndcg"
    assert smaller_is_better("NDCG@5", ["NDCG"]) is None


def test_a_metric_is_named_after_its_class():
    assert own_metric(f"{OWN}:FirstHit") is FirstHit
    assert result_name(f"{OWN}:FirstHit") == "firsthit"
    assert smaller_is_better("FirstHit@5", [f"{OWN}:FirstHit"]) is False
    assert smaller_is_better("firstmiss@5", [f"{OWN}:FirstHit", f"{OWN}:FirstMiss"]) is True


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"{OWN}:BiasMF"], "BiasMF must inherit from TopkMetric or another class of recbole.evaluator.base_metric"),
        ([f"{OWN}:Recall"], "Recall has the name of a metric of RecBole, Recall: rename the class"),
        ([f"{OWN}:Typeless"], "Typeless has no metric_type: set it to EvaluatorType.RANKING or VALUE"),
        ([f"{OWN}:Needy"], "Needy: metric_need=['rec.topk', 'rec.mood']: expected a list of some of data.count_items,"),
        ([f"{OWN}:Gone"], "Gone cannot be imported: AttributeError"),
        (["NDGC"], "metrics: unknown metric 'NDGC'. Did you mean ndcg? Available metrics: auc,"),
        ([f"{OWN}:FirstHit", "Again"], "FirstHit and Again are both called firsthit in results: rename one"),
    ],
)
def test_what_cannot_be_measured_is_refused(names, message, monkeypatch):
    point = EntryPoint("Again", f"{OWN}:FirstHit", "recbole_bd.metrics")
    monkeypatch.setattr(own_classes, "entry_points", lambda group: [point] * (group == point.group))
    with pytest.raises(ConfigError) as error:
        make_config(QUICK, metrics=names, valid_metric="Recall@5")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_metric_of_another_package_is_known_by_its_entry_point(monkeypatch):
    point = EntryPoint("Early", f"{OWN}:FirstHit", "recbole_bd.metrics")
    monkeypatch.setattr(own_classes, "entry_points", lambda group: [point] * (group == point.group))
    config = make_config(QUICK, metrics=["Recall", "Early"], valid_metric="FirstHit@5")
    assert config.as_dict()["metrics"] == ["Recall", "Early"]
    assert issubclass(metrics_dict["early"], FirstHit)


def test_values_are_measured_under_the_name_of_the_class():
    config = make_config(QUICK, metrics=["Recall", FirstHit], valid_metric="FirstHit@5")
    assert config["metrics"] == ["Recall", f"{OWN}:FirstHit"]
    found = DataStruct()
    found.set("rec.topk", torch.tensor([[0, 1, 0, 0, 0, 2], [0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 2]]))
    assert dict(Evaluator(config.role("student")).evaluate(found)) == {
        "recall@5": pytest.approx(0.5),
        "firsthit@5": pytest.approx(2 / 3, abs=1e-5),
    }


def test_a_metric_with_another_name_for_its_values_is_refused():
    config = make_config(QUICK, metrics=[f"{OWN}:Misnamed"], valid_metric="Misnamed@5")
    found = DataStruct()
    found.set("rec.topk", torch.tensor([[0, 1, 0, 0, 0, 2]]))
    with pytest.raises(ConfigError) as error:
        Evaluator(config.role("student")).evaluate(found)
    assert str(error.value) == "metric Misnamed gives 'firsthit@5': its values must be called misnamed"


@pytest.mark.parametrize(("metric", "bigger"), [("FirstHit", True), ("FirstMiss", False), ("NDCG", True)])
def test_the_best_value_is_the_largest_or_the_smallest(metric, bigger):
    names = ["NDCG", f"{OWN}:FirstHit", f"{OWN}:FirstMiss"]
    for settings in (QUICK, {**alone(QUICK), "model": "BPR"}):
        settings = {key: value for key, value in settings.items() if key != "distill_epochs"}
        config = make_config(settings, metrics=names, valid_metric=f"{metric}@5")
        assert config["valid_metric_bigger"] == bigger
        assert all(config.role(role)["valid_metric_bigger"] == bigger for role in config.backbones)


def test_the_validation_metric_is_among_the_measured_ones():
    with pytest.raises(ConfigError) as error:
        make_config(QUICK, metrics=["Recall", f"{OWN}:FirstHit"], valid_metric="FirstMiss@5")
    assert str(error.value) == (
        "valid_metric='FirstMiss@5': must be one of the metrics ['Recall', 'FirstHit'] at one of topk [5]"
    )


def test_kinds_of_metrics_do_not_mix():
    add_own_metrics([f"{OWN}:OfValues"])
    with pytest.raises(ConfigError, match="OfValues compares scores with labels and Recall ranks items"):
        make_config(QUICK, metrics=["Recall", f"{OWN}:OfValues"], valid_metric="Recall@5")
