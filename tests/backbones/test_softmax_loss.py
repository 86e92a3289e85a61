"""The softmax as a role's own loss: torch's cross-entropy over the role's logits is the reference."""

import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.softmax_loss import negatives_of
from recbole_bd.config.known_options import backbone_options
from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import load_split
from tests.helpers.backbones import SETTINGS, SMALL, spread
from tests.helpers.settings import alone, make_config

SOFTMAX = {"own_loss": "softmax"}


@pytest.fixture
def build(quick):
    """A role with the softmax as its loss, its parameters spread, and a batch of its own loader."""

    def make(name, **settings):
        known = {key: value for key, value in SMALL.items() if key in backbone_options(name)}
        config = make_config({**alone(quick), **known, **SETTINGS.get(name, {}), **SOFTMAX, **settings}, model=name)
        split, role_config = load_split(config), config.role("model")
        role = build_role("model", role_config, split.train)
        spread(role.model)
        role.model.eval()  # without dropout
        return role, next(iter(train_loader(role_config, split))), split

    return make


def full_cross_entropy(role, users, positives, temperature=1.0, cosine=False):
    """-log softmax over every item but padding, from the role's logits, for each interaction."""
    if cosine:
        vectors = [F.normalize(own, dim=1) for own in role.embeddings()]
        logits = vectors[0][users] @ vectors[1].T
    else:
        logits = role.all_logits(users)
    return F.cross_entropy(logits[:, 1:] / temperature, positives - 1, reduction="none")


def lengths(role, users, positives):
    of_users, of_items = role.embeddings(users, positives)
    return of_users.square().sum(dim=1) + of_items.square().sum(dim=1)


INNER_PRODUCTS = ["BPR", "MF", "LightGCN", "DMF", "FISM", "SimpleX", "GCMC"]


@pytest.mark.parametrize("name", INNER_PRODUCTS)
def test_all_items_are_the_cross_entropy_over_the_catalogue(name, build):
    role, batch, _ = build(name, softmax_negatives="all", softmax_temperature=0.7, softmax_l2=0.03)
    users, positives = batch[role.model.USER_ID], batch[role.model.ITEM_ID]
    assert batch.columns == [role.model.USER_ID, role.model.ITEM_ID]  # no negative was drawn
    rows = full_cross_entropy(role, users, positives, 0.7) + 0.03 * lengths(role, users, positives)
    assert float(role.loss(batch)) == pytest.approx(float(rows.mean()), rel=1e-4)
    expected = torch.autograd.grad(rows.mean(), [*role.model.parameters()], allow_unused=True)
    found = torch.autograd.grad(role.loss(batch), [*role.model.parameters()], allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-5)


def test_cosine_takes_the_angle_between_the_vectors(build):
    role, batch, _ = build("BPR", softmax_negatives="all", softmax_cosine=True, softmax_temperature=0.2)
    users, positives = batch[role.model.USER_ID], batch[role.model.ITEM_ID]
    expected = full_cross_entropy(role, users, positives, 0.2, cosine=True).mean()
    assert float(role.loss(batch)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF"])
def test_shared_draws_come_to_the_full_softmax_and_are_new_in_each_step(name, build):
    role, batch, _ = build(name, softmax_negatives=1500)
    expected = float(full_cross_entropy(role, batch[role.model.USER_ID], batch[role.model.ITEM_ID]).mean())
    values = [float(role.loss(batch).detach()) for _ in range(4)]
    assert len(set(values)) == 4
    assert sum(values) / 4 == pytest.approx(expected, rel=0.01)
    role.softmax.begin()
    assert float(role.loss(batch)) == values[0]


@pytest.mark.parametrize("name", ["CDAE", "MultiDAE", "MultiVAE", "ENMF"])
def test_batches_of_users_take_all_their_training_items(name, build):
    settings = {"softmax_negatives": "all"} if name == "ENMF" else {}
    role, batch, split = build(name, **settings)
    users = batch[role.model.USER_ID]
    assert role.model.ITEM_ID not in batch
    field = split.train.inter_feat
    every, items = field[role.model.USER_ID], field[role.model.ITEM_ID]
    kept = torch.isin(every, users)
    total = full_cross_entropy(role, every[kept], items[kept]).sum()
    per_user = len(items) / (role.n_users - 1)
    assert float(role.loss(batch)) == pytest.approx(float(total) / len(users) / per_user, rel=1e-4)
    assert role.interactions_added(len(users), per_user) == 1


@pytest.mark.parametrize("name", ["BPR", "CDAE"])
def test_it_is_a_mean_over_rows_so_that_processes_may_share_a_batch(name, build):
    role, batch, _ = build(name)
    size = len(batch)
    parts = []
    for part in (slice(0, size // 3), slice(size // 3, size)):
        role.softmax.begin()  # every process draws the same items
        parts.append((part.stop - part.start) / size * float(role.loss(batch[part])))
    role.softmax.begin()
    assert role.shares_batches
    assert sum(parts) == pytest.approx(float(role.loss(batch)), rel=1e-5)


@pytest.mark.parametrize(("name", "negatives"), [("LightGCN", 20), ("LightGCN", "all"), ("NeuMF", 5), ("CDAE", "all")])
def test_under_mixed_precision_the_loss_is_summed_in_full_precision(name, negatives, build):
    role, batch, _ = build(name, softmax_negatives=negatives)
    plain = float(role.loss(batch))
    role.softmax.begin()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = role.loss(batch)
    mixed.backward()
    assert mixed.dtype == torch.float32
    assert float(mixed) == pytest.approx(plain, rel=0.02)


def test_draws_go_on_where_their_state_was_taken(build):
    role, batch, _ = build("BPR")
    role.loss(batch)
    state = role.softmax.generator.get_state()
    values = [float(role.loss(batch)) for _ in range(2)]
    role.softmax.begin()
    role.softmax.generator.set_state(state)
    assert [float(role.loss(batch)) for _ in range(2)] == values


@pytest.mark.parametrize(("name", "more"), [("CDAE", {}), ("ENMF", {}), ("ENMF", {"softmax_negatives": "all"})])
def test_a_batch_without_a_training_item_has_no_loss(name, more, build):
    role, _, _ = build(name, **more)
    nobody = Interaction({role.model.USER_ID: torch.zeros(1, dtype=torch.int64)})
    loss = role.loss(nobody)
    loss.backward()
    assert float(loss) == 0


def test_the_number_of_shared_items_suits_the_way_a_model_scores():
    known = {name: negatives_of(recommender_class(name), None) for name in ("BPR", "LightGCN", "NeuMF", "CDAE")}
    assert known == {"BPR": 512, "LightGCN": 512, "NeuMF": 8, "CDAE": "all"}
    assert negatives_of(recommender_class("NeuMF"), 3) == 3
