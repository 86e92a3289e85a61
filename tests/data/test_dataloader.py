"""RecBole's loaders and sampler are the reference: the same batches and negatives, bitwise."""

import numpy as np
import pytest
import torch
from recbole.data.dataloader import TrainDataLoader, UserDataLoader
from recbole.utils import init_seed
from scipy import stats

from recbole_bd.data.batches import train_loader
from recbole_bd.data.negative_sampler import ArraySampler
from recbole_bd.data.split import load_split
from tests.helpers.data import write_inter
from tests.helpers.loaders import hosts
from tests.helpers.settings import alone, make_config


def epochs_of(loader, count=3):
    init_seed(11, True)
    return [[dict(batch.interaction) for batch in loader] for _ in range(count)]


NEGATIVES = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False}
CASES = {
    "pairwise": ("BPR", {}),
    "three negatives": ("BPR", {"train_neg_sample_args": {**NEGATIVES, "sample_num": 3}}),
    "popular negatives": ("BPR", {"train_neg_sample_args": {**NEGATIVES, "distribution": "popularity", "alpha": 0.5}}),
    "pointwise": ("NeuMF", {}),
    "several pointwise": ("NeuMF", {"train_neg_sample_args": {**NEGATIVES, "sample_num": 2}}),
    "users": ("CDAE", {}),
    "no shuffle": ("BPR", {"shuffle": False}),
    "repeatable": ("BPR", {"repeatable": True}),
    "one batch": ("BPR", {"train_batch_size": 10**6}),
}


@pytest.mark.parametrize("case", CASES)
def test_batches_are_recboles_bitwise(case, quick):
    name, settings = CASES[case]
    config = make_config({**alone(quick), **settings}, model=name)
    split = load_split(config)
    role = config.role("model")
    ours, theirs = train_loader(role, split), hosts(role, split)
    assert isinstance(ours, UserDataLoader if name == "CDAE" else TrainDataLoader)
    assert len(ours) == len(theirs)
    for mine, reference in zip(epochs_of(ours), epochs_of(theirs), strict=True):
        assert len(mine) == len(reference) == len(ours)
        for batch, expected in zip(mine, reference, strict=True):
            assert batch.keys() == expected.keys()
            for field, values in expected.items():
                assert batch[field].dtype == values.dtype
                assert torch.equal(batch[field], values)


def test_features_of_items_come_with_the_batch(tmp_path, quick):
    from tests.helpers.data import block_pairs

    write_inter(tmp_path, "rich", block_pairs())
    lines = ["item_id:token\tprice:float", *(f"i{item}\t{item / 2}" for item in range(48))]
    (tmp_path / "rich" / "rich.item").write_text("\n".join(lines))
    config = make_config(
        {**alone(quick), "dataset": "rich", "data_path": str(tmp_path)},
        model="BPR",
        load_col={"inter": ["user_id", "item_id"], "item": ["item_id", "price"]},
    )
    split = load_split(config)
    role = config.role("model")
    (mine,), (reference,) = epochs_of(train_loader(role, split), 1), epochs_of(hosts(role, split), 1)
    assert {"price", "neg_price"} <= mine[0].keys()
    assert all(torch.equal(a[k], b[k]) for a, b in zip(mine, reference, strict=True) for k in b)


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


def test_a_user_who_knows_everything_is_refused(quick):
    config = make_config(alone(quick), model="BPR")
    split = load_split(config)
    features = split.train.inter_feat
    features["user_id"][:48], features["item_id"][:48] = 1, torch.arange(1, 49)
    with pytest.raises(ValueError, match="all items"):
        ArraySampler([split.train, split.valid, split.test], "uniform", 1.0)
