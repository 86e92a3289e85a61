"""Contract of the sequential models: logits held against the model's own scores of the same histories."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_bd.backbones.extra_state import changed_attributes
from recbole_bd.backbones.names import BASELINE
from recbole_bd.backbones.registry import recommender_class, sequential_recommenders
from recbole_bd.backbones.scoring.rows import rows_of
from recbole_bd.backbones.traits import SEQUENTIAL_TRAITS, WITH_USER_VECTORS
from recbole_bd.config.known_options import backbone_options
from recbole_bd.data.batches import train_loader
from recbole_bd.data.sequences import POINTS
from recbole_bd.errors import RoleError
from recbole_bd.runs.prepare import prepare
from tests.helpers.backbones import close
from tests.helpers.histories import CHAINS, SMALL, write_chains
from tests.helpers.settings import make_config

MIXED = ("MixtureScores", "ProbabilityScores")
PROBABILITIES = {name for name, traits in SEQUENTIAL_TRAITS.items() if traits.scoring in MIXED}
# Models that read features of items.
FEATURES = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class", "price"]}
WITH_FEATURES = {name: {"load_col": FEATURES} for name in ("FDSA", "GRU4RecF", "SASRecF")}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A role around a sequential model on small data, with its split and settings; made once by name."""
    folder, made = write_chains(tmp_path_factory.mktemp("chains")), {}

    def make(name: str, **more):
        key = (name, str(more))
        if key not in made:
            own = {key: value for key, value in SMALL.items() if key in backbone_options(name)}
            own |= WITH_FEATURES.get(name, {})
            config = make_config({**CHAINS, "data_path": str(folder), "model": name, **own, **more}, seed=5)
            split, roles = prepare(config)
            made[key] = roles[BASELINE], split, config
        return made[key]

    return make


def own_scores(role, users, point: str) -> torch.Tensor:
    """The model's own full ranking of users after the histories at a point in time, in its own unit."""
    histories = role.model.sequences.of_users(users, point)
    with role.scoring():
        return role.model.full_sort_predict(Interaction({"user_id": users, **histories.interaction}))


def test_all_sequential_models_of_recbole_are_known():
    import inspect

    recommender_class("SASRec")  # imports the package with care
    import recbole.model.sequential_recommender as package
    from recbole.model.abstract_recommender import SequentialRecommender

    from recbole_bd.backbones.traits import NO_ROLE

    classes = {
        name
        for name, kind in vars(package).items()
        if inspect.isclass(kind) and issubclass(kind, SequentialRecommender) and kind is not SequentialRecommender
    }
    assert classes == {*SEQUENTIAL_TRAITS, *NO_ROLE}
    assert not classes & {name for name in NO_ROLE if name in SEQUENTIAL_TRAITS}
    for name in NO_ROLE:
        with pytest.raises(RoleError, match=f"{name} cannot take a role: .*; choose"):
            recommender_class(name)


@pytest.mark.parametrize("name", sequential_recommenders())
def test_logits_are_the_models_own_scores_at_every_point(name, build):
    role, split, _ = build(name)
    users = torch.tensor([3, 1, 3, 7])
    seen = []
    for point in POINTS:
        own = own_scores(role, users, point).reshape(len(users), -1)
        with role.scoring(), role.at(point):
            logits = role.all_logits(users)
            items = torch.tensor([[1, 4], [2, 2], [5, 9], [8, 3]])
            assert close(role.pair_logits(users, items), logits.gather(1, items))
            assert close(role.all_logits(users, torch.tensor([2, 6])), logits[:, [2, 6]])
            assert close(role.all_logits(users, items), logits.gather(1, items))
        assert logits.shape == (4, split.n_items)
        assert close(logits.exp() if name in PROBABILITIES else logits, own, 1e-4)
        assert np.array_equal(logits[:, 1:].argsort(stable=True), own[:, 1:].argsort(stable=True))
        seen.append(logits)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    with role.scoring():
        assert torch.equal(role.all_logits(users), seen[0])  # outside of a scope, after the training items


@pytest.mark.parametrize("name", sequential_recommenders())
def test_a_gradient_reaches_the_parameters_and_no_score_is_stale(name, build):
    role, split, _ = build(name, learning_rate=0.01)
    users, items = torch.tensor([1, 2]), torch.tensor([[1, 2, 3], [4, 5, 6]])
    role.model.train()
    role.model.zero_grad()
    (role.pair_logits(users, items) * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    moved = [p for p in role.model.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved
    assert all(torch.isfinite(p.grad).all() for p in moved)
    with role.scoring():
        before = role.all_logits(users)
    with torch.no_grad():
        for parameter in moved:
            parameter.add_(0.05 * torch.randn_like(parameter))
    with role.scoring():
        assert not torch.allclose(role.all_logits(users), before)
    assert role.model.training  # as it was found
    batch = next(iter(train_loader(role.config, split)))
    loss = role.loss(batch)
    assert torch.isfinite(loss)
    loss.backward()
    assert split.n_users == role.n_users == role.model.n_users
    assert role.n_items == split.n_items


@pytest.mark.parametrize("name", sequential_recommenders())
def test_what_a_step_leaves_on_a_model_is_no_part_of_its_state(name, build):
    role, split, _ = build(name)
    role.loss(next(iter(train_loader(role.config, split))))
    with role.scoring():
        role.all_logits(torch.tensor([1, 2]))
    assert changed_attributes(role.model).keys() == set(SEQUENTIAL_TRAITS[name].extra_state)


def test_a_loss_reads_what_the_pass_of_its_own_batch_left(build):
    role, split, _ = build("RepeatNet", joint_train=True, dropout_prob=0.0)
    batch = next(iter(train_loader(role.config, split)))
    rows = rows_of(role.model, batch, batch["user_id"])
    items = torch.ones(len(rows), 2, dtype=torch.int64)
    alone = role.loss(batch)
    with role.scores.one_pass():
        role.pair_logits(rows, items)
        role.pair_logits(rows[torch.arange(3)], items[:3])  # of another batch
        assert torch.equal(role.loss(batch), alone)


@pytest.mark.parametrize("name", sequential_recommenders())
def test_given_histories_are_scored_without_their_user_unless_it_has_a_vector(name, build):
    role, _, _ = build(name)
    users = torch.tensor([3, 1, 3, 7])
    histories = role.model.sequences.of_users(users, POINTS[2]).interaction
    with role.scoring(), role.at(POINTS[2]):
        own = role.scores.of_histories(Interaction({"user_id": users, **histories}))
        assert close(own, role.all_logits(users))
        others = role.scores.of_histories(Interaction({"user_id": users + 4, **histories}))
    assert torch.equal(own, others) == (name not in WITH_USER_VECTORS)


@pytest.mark.parametrize("name", sequential_recommenders())
def test_processes_may_share_batches_where_the_loss_is_a_mean_over_rows(name, build):
    role, split, _ = build(name)
    batch = next(iter(train_loader(role.config, split)))
    count, first = len(batch), len(batch) // 3
    with torch.no_grad():
        role.model.eval()
        whole, *parts = (
            float(role.loss(batch[rows])) for rows in (slice(0, count), slice(0, first), slice(first, count))
        )
        role.model.train()
    mean = (first * parts[0] + (count - first) * parts[1]) / count
    assert role.shares_batches == (mean == pytest.approx(whole, rel=1e-6)) or name == "BERT4Rec"
    assert role.shares_batches == (name not in ("BERT4Rec", "SHAN", "TransRec"))


@pytest.mark.parametrize("name", ["GRU4RecCPR", "SASRecCPR"])
def test_a_loss_that_a_model_ends_the_program_for_is_refused(name, build):
    with pytest.raises(RoleError, match=f"model: {name} cannot be built: it has no loss_type='BPR'; leave it out"):
        build(name, loss_type="BPR")


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "STAMP", "CORE"])
def test_users_without_a_history_have_finite_scores(name, build):
    role, _, _ = build(name)
    with role.scoring():
        assert torch.isfinite(role.all_logits(torch.tensor([0, 1]))).all()


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "NARM"])
def test_pairwise_losses_draw_negatives_that_are_not_the_target(name, build):
    role, split, _ = build(name, loss_type="BPR")
    for batch in train_loader(role.config, split):
        assert (batch["neg_item_id"] != batch["item_id"]).all()
        assert (batch["neg_item_id"] > 0).all()
    assert torch.isfinite(role.loss(batch))
