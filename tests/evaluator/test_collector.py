"""RecBole's collector and metric code are the reference, number for number."""

import pytest
import torch
from recbole.data.utils import create_samplers, get_dataloader
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import Collector
from recbole.evaluator.register import metrics_dict
from recbole.utils import EvaluatorType

from recbole_bd.data.split import load_split
from recbole_bd.evaluator import collector
from recbole_bd.evaluator.collector import ArrayCollector, hit_places
from tests.helpers.settings import alone, make_config

RANKING = sorted(name for name, one in metrics_dict.items() if one.metric_type == EvaluatorType.RANKING)


def scene(n_users=40, n_items=70, most=1, ties=False, seed=0):
    """Scores with excluded items, and 1 to `most` positives per user."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n_users, n_items, generator=generator)
    if ties:
        scores = scores.mul(2).round()
    order = torch.rand(n_users, n_items - 1, generator=generator).argsort(dim=1) + 1
    counts = torch.randint(1, most + 1, (n_users,), generator=generator)
    rows = torch.repeat_interleave(counts)
    within = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    scores[torch.arange(n_users).repeat_interleave(9), order[:, -9:].flatten()] = -torch.inf
    scores[:, 0] = -torch.inf
    return scores, rows, order[rows, within]


def expected_places(scores, rows, items, k):
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[rows, items] = True
    return positive.gather(1, scores.topk(k, dim=1).indices)


@pytest.mark.parametrize("most", [1, 3, 12])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 10, 60])
@pytest.mark.parametrize("at_once", [2**20, 300])
def test_places_are_those_of_topk(most, ties, k, at_once, monkeypatch):
    monkeypatch.setitem(collector._SCORES_AT_ONCE, "cpu", at_once)
    for seed in range(5):
        scores, rows, items = scene(most=most, ties=ties, seed=seed)
        assert torch.equal(hit_places(scores, rows, items, k), expected_places(scores, rows, items, k))


def test_rows_are_searched_only_where_a_count_does_not_tell_the_place(monkeypatch):
    sizes = []
    original = collector._by_topk
    monkeypatch.setattr(collector, "_by_topk", lambda *a: sizes.append(len(a[0])) or original(*a))
    scores, rows, items = scene(n_items=320, most=3)
    first = torch.zeros(len(scores), dtype=torch.bool)
    first[rows[[0, -1]]] = True  # in the other rows, the 20 first columns have 10 items above each positive
    scores[:, 1:20] = torch.where(first.unsqueeze(1), 0, 9.0)
    items = torch.where(items < 20, items + 20, items)
    scores[rows, items] = 5.0 - items / 1000
    assert torch.equal(hit_places(scores, rows, items, 10), expected_places(scores, rows, items, 10))
    assert not sizes
    scores[rows[[0, -1]], 40] = torch.nan
    assert torch.equal(hit_places(scores, rows, items, 10), expected_places(scores, rows, items, 10))
    assert sizes == [2]
    monkeypatch.setitem(collector._SCORES_AT_ONCE, "cpu", 320)  # one row at a time
    assert torch.equal(hit_places(scores, rows, items, 10), expected_places(scores, rows, items, 10))
    assert sizes == [2, 1, 1]
    items[0] = 40  # a positive of score NaN
    assert torch.equal(hit_places(scores, rows, items, 10), expected_places(scores, rows, items, 10))


@pytest.mark.parametrize("metric", RANKING)
@pytest.mark.parametrize("most", [1, 6])
def test_every_ranking_metric_is_recboles(metric, most, quick):
    selecting = metric if metric == "gauc" else f"{metric}@10"  # GAUC has no cut-off
    config = make_config(alone(quick), model="BPR", metrics=[metric], topk=[3, 10], valid_metric=selecting)
    split = load_split(config)
    values = []
    repaired = {"get_data_struct": ArrayCollector.get_data_struct, "_places": []}
    for kind in (type("Host", (Collector,), repaired), ArrayCollector):
        collecting = kind(config.role("model"))
        collecting.data_collect(type("Data", (), {"dataset": split.train}))
        for seed in range(3):
            scores, rows, items = scene(most=most, seed=seed, n_items=49)
            collecting.eval_batch_collect(scores, None, rows, items)
        values.append(Evaluator(config.role("model")).evaluate(collecting.get_data_struct()))
    assert values[0] == values[1]
    assert values[0]


@pytest.mark.parametrize("backbone", ["BPR", "Pop", "NeuMF", "CDAE"])
@pytest.mark.parametrize("batch", [4096000, 500, 1])
def test_evaluation_is_recboles(backbone, batch, quick, tmp_path, monkeypatch):
    from recbole.trainer import Trainer

    from recbole_bd.backbones.build_role import build_role
    from recbole_bd.trainer.journal import Journal
    from recbole_bd.trainer.role_trainer import role_trainer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._SCORES_CACHED", batch)
    monkeypatch.setattr("recbole_bd.data.evaluation_loader._LEAST_USERS", 1)
    settings = {**alone(quick), "topk": [3, 10], "valid_metric": "NDCG@10", "eval_batch_size": batch}
    config = make_config(settings, model=backbone)
    split = load_split(config)
    role = build_role("model", config.role("model"), split.train)
    if backbone == "Pop":
        role.model.item_cnt = torch.randint(0, 9, role.model.item_cnt.shape)
        role.model.max_cnt = role.model.item_cnt.max()
    sampler = create_samplers(config, split.dataset, [split.train, split.valid, split.test])[1]
    loader = get_dataloader(config, "valid")(config, split.valid, sampler, shuffle=False)
    assert len(loader) == len(split.valid_loader)
    for theirs, ours in zip(loader, split.valid_loader, strict=True):
        assert torch.equal(theirs[0]["user_id"], ours[0]["user_id"])
        for listed, own in ((theirs[1], ours[1]), (theirs[2:], ours[2:])):
            assert sorted(torch.stack(listed).T.tolist()) == torch.stack(own).T.tolist()
    expected = Trainer(role.config, role.model).evaluate(loader, load_best_model=False)
    found = role_trainer(role, Journal(), "separate").evaluate(split.valid_loader)
    assert dict(found) == dict(expected)
