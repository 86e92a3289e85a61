"""The negative sampler against the frequencies it must have."""

import numpy as np
import pytest
import torch
from recbole.data.utils import create_samplers
from scipy import stats

from recbole_bd.data.negative_sampler import ArraySampler, evaluation_samplers
from recbole_bd.data.split import load_split
from tests.helpers.settings import alone, make_config

PARTS = ["train", "valid", "test"]


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_negatives_have_the_distribution_and_are_never_training_items(distribution, quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    parts = [split.train, split.valid, split.test]
    sampler = ArraySampler(parts, distribution, 1.0).set_phase("train")
    users, items = (ids.numpy() for ids in split.pairs("train"))
    counts = np.zeros(split.n_items)
    for part in parts:
        counts += np.bincount(part.inter_feat["item_id"].numpy(), minlength=split.n_items)
    weights = np.ones(split.n_items) if distribution == "uniform" else counts
    for user in (1, 7, 30):
        drawn = sampler.sample_by_user_ids(np.array([user, 2]), None, 6000).reshape(6000, 2)[:, 0].numpy()
        expected = weights.copy()
        expected[0] = expected[items[users == user]] = 0
        found = np.bincount(drawn, minlength=split.n_items)
        assert found[expected == 0].sum() == 0
        expected = 6000 * expected / expected.sum()
        assert stats.chisquare(found[expected > 0], expected[expected > 0]).pvalue > 1e-4


def test_negatives_that_leak_spare_the_held_out_items_too(quick):
    split = load_split(make_config(alone(quick), model="BPR"))
    parts = [split.train, split.valid, split.test]
    pairs = [np.stack([ids.numpy() for ids in split.pairs(name)]) for name in ("train", "valid", "test")]
    for leaks, known in ((False, pairs[:1]), (True, pairs)):
        sampler = ArraySampler(parts, "uniform", 1.0, leaks).set_phase("train")
        for user in (3, 8):
            drawn = sampler.sample_by_user_ids(np.array([user]), None, 600)
            never = {item for part in known for item in part[1][part[0] == user]}
            assert set(drawn.tolist()) == set(range(1, split.n_items)) - never


def test_a_user_who_knows_everything_is_refused(quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    features = split.train.inter_feat
    features["user_id"][:48], features["item_id"][:48] = 1, torch.arange(1, 49)
    parts = [split.train, split.valid, split.test]
    with pytest.raises(ValueError, match="all items"):
        ArraySampler(parts, "uniform", 1.0)
    with pytest.raises(ValueError, match="all items"):
        evaluation_samplers(config, parts)
    for other in ({"repeatable": True}, {f"{part}_neg_sample_args": {"distribution": "none"} for part in PARTS}):
        evaluation_samplers({**config.final_config_dict, **other}, parts)


@pytest.mark.parametrize("without", [[], ["train"], ["valid", "test"], PARTS])
def test_evaluation_has_samplers_where_recbole_has_and_no_lists_of_a_user(without, quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    parts = [split.train, split.valid, split.test]
    none = {f"{part}_neg_sample_args": {"distribution": "none", "alpha": 1.0} for part in without}
    hosts = create_samplers({**config.final_config_dict, **none}, split.dataset, parts)[1:]
    own = evaluation_samplers({**config.final_config_dict, **none}, parts)
    assert [one and one.phase for one in own] == [one and one.phase for one in hosts]
    for loader in (split.valid_loader, split.test_loader):
        assert not loader._sampler.used_ids[3]
        assert not {"uid2history_item", "uid2positive_item"} & set(vars(loader))


def test_negatives_come_in_rows_of_one_for_every_user(quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    sampler = ArraySampler([split.train, split.valid, split.test], "uniform", 1.0).set_phase("train")
    users, items = (ids.numpy() for ids in split.pairs("train"))
    known = {user: set(items[users == user].tolist()) for user in (3, 8)}
    drawn = sampler.sample_by_user_ids(np.array([3, 8]), None, 500)
    assert (drawn.dtype, drawn.shape) == (torch.int64, (1000,))
    for column, user in enumerate((3, 8)):
        found = set(drawn.view(500, 2)[:, column].tolist())
        assert found == set(range(1, split.n_items)) - known[user]


def test_the_only_item_left_is_always_drawn(quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    features = split.train.inter_feat
    features["user_id"][:47], features["item_id"][:47] = 1, torch.arange(1, 48)
    features["user_id"][47:] = 2  # a user of many items, so that the first has no others
    features["item_id"][47:] = torch.arange(len(features) - 47) % 40 + 1
    sampler = ArraySampler([split.train, split.valid, split.test], "uniform", 1.0).set_phase("train")
    assert sampler.sample_by_user_ids(np.array([1, 1]), None, 20).tolist() == [48] * 40
    assert set(sampler.used_ids // split.n_items) == {1, 2}
    assert len(sampler.used_ids) == 47 + 40  # distinct pairs
