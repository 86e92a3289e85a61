"""Placebos in the place of the other role: each against its definition."""

import copy
from collections import Counter

import pytest
import torch

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model.exchange import TARGETS
from recbole_bd.model.guides import random_logits, rows_of_others
from recbole_bd.system.random_state import seeded
from tests.helpers.scenes import Scene, equal_states, pair
from tests.helpers.settings import PAPER

PLACEBOS = [name for name in TARGETS if name != "other"]
LISTS = {"exchange": "listwise", "list_positive_teacher_to_student": True, "samples_per_positive": 3}


def drawn(scene, role, batch):
    """The users and items of a role's exchange, and what the exchange then is; chance is left as it was."""
    states = {name: copy.deepcopy(state) for name, state in scene.method.sampling_state().items() if "gener" in name}
    parts = scene.method.loss(role, batch)
    after = scene.method.sampler.generator.get_state()
    scene.method.sampler.generator.set_state(states["generator"])
    takes = scene.method.exchanges[role].takes_positive
    lists = scene.method.drawn.draw(scene.method.sampler, role, batch, takes)
    scene.method.sampler.generator.set_state(after)
    items = torch.cat([lists.positives[:, None], lists.items], dim=1) if takes else lists.items
    return lists.users, items, parts["distill"], states.get("guide_generator")


def logits_of(model, users, items):
    return (model.user_embedding(users).unsqueeze(1) * model.item_embedding(items)).sum(-1)


def bce(logits, probability):
    probability = torch.as_tensor(probability)
    return -(probability * torch.log(torch.sigmoid(logits)) + (1 - probability) * torch.log(torch.sigmoid(-logits)))


def reference(kind, z, target, temperature):
    """An exchange loss of learner's and target's logits, from the equations."""
    if kind == "pointwise":
        return bce(z, torch.sigmoid(target / temperature)).mean()
    if kind == "listwise":
        shares = torch.exp(target / temperature) / torch.exp(target / temperature).sum(1, keepdim=True)
        return -(shares * (z - z.logsumexp(1, keepdim=True))).sum(1).mean()
    return bce(z[:, :1] - z[:, 1:], torch.sigmoid((target[:, :1] - target[:, 1:]) / temperature)).mean()


@pytest.mark.parametrize("role", [TEACHER, STUDENT])
@pytest.mark.parametrize("kind", ["listwise", "pairwise"])
def test_a_one_hot_target_is_the_positive(kind, role, quick):
    """Listwise: the cross-entropy of the positive. Pairwise: -log sigmoid(z_0 - z_k)."""
    weights = {f"lambda_{direction}": 0.5 for direction in DIRECTION_INTO.values()}
    scene = Scene(quick, guide="one_hot", temperature=3.0, **weights, **{**LISTS, "exchange": kind})
    users, items, found, _ = drawn(scene, role, scene.batch_of(role))
    z = logits_of(scene.roles[role].model, users, items)
    expected = {
        "listwise": -torch.log_softmax(z, dim=1)[:, 0].mean(),
        "pairwise": -torch.log(torch.sigmoid(z[:, :1] - z[:, 1:])).mean(),
    }
    assert torch.allclose(found, 0.5 * expected[kind], rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"exchange": "pointwise"}, "guide=one_hot: the student learns from items without the positive; use list_posi"),
        ({"list_positive_teacher_to_student": False}, "guide_teacher_to_student=constant"),
        ({"guide": "other", "guide_student_to_teacher": "one_hot", "list_positive_student_to_teacher": False},
         "the teacher learns from items without the positive"),
    ],
)  # fmt: skip
def test_a_one_hot_target_needs_the_positive(more, message, quick):
    with pytest.raises(ConfigError, match=message):
        Scene(quick, **{**LISTS, "guide": "one_hot", **more})
    off = {"directions": "student_to_teacher", "list_positive_teacher_to_student": False}
    assert Scene(quick, **{**LISTS, "guide": "one_hot", **off}).method


@pytest.mark.parametrize("kind", ["pointwise", "listwise", "pairwise"])
@pytest.mark.parametrize("constant", [0.5, 0.2])
def test_a_constant_target(kind, constant, quick):
    """Pointwise: every item's probability. Pairwise: the positive's before each item. Listwise: equal shares."""
    settings = {**LISTS, "exchange": kind, "guide_constant": constant, "temperature": 4.0, "guide": "constant"}
    scene = Scene(quick, lambda_teacher_to_student=1.0, **settings)
    users, items, found, _ = drawn(scene, STUDENT, scene.batch_of(STUDENT))
    z = logits_of(scene.roles[STUDENT].model, users, items)
    expected = {
        "pointwise": bce(z, constant).mean(),
        "listwise": (z.logsumexp(1) - z.mean(1)).mean(),
        "pairwise": bce(z[:, :1] - z[:, 1:], constant).mean(),
    }
    assert torch.allclose(found, expected[kind], rtol=1e-5)


@pytest.mark.parametrize("kind", ["pointwise", "listwise", "pairwise"])
@pytest.mark.parametrize("state", ["current", "best"])
def test_a_shuffled_target_is_the_other_roles_row_of_another_user(kind, state, quick):
    settings = {**LISTS, "exchange": kind, "temperature": 2.0, "guide_state": state, "guide": "shuffled"}
    scene = Scene(quick, lambda_teacher_to_student=1.0, **settings)
    users, items, found, chance = drawn(scene, STUDENT, scene.batch_of(STUDENT))
    if state == "best":  # the present state teaches nothing
        expected_model = copy.deepcopy(scene.roles[TEACHER].model)
        with torch.no_grad():
            scene.roles[TEACHER].model.item_embedding.weight.zero_()
    else:
        expected_model = scene.roles[TEACHER].model
    rows = rows_of_others(users, torch.Generator().set_state(chance))
    assert (users[rows] != users).all()
    z = logits_of(scene.roles[STUDENT].model, users, items)
    target = logits_of(expected_model, users[rows], items[rows])
    assert torch.allclose(found, reference(kind, z, target, 2.0), rtol=1e-4)


def test_every_row_of_another_user_is_as_likely(monkeypatch):
    generator, users = torch.Generator().manual_seed(5), torch.tensor([7, 3, 9, 4, 1])
    drawn = torch.stack([rows_of_others(users, generator) for _ in range(4000)])
    assert (drawn.sort(dim=1).values == torch.arange(5)).all(), "permutations"
    for row in range(5):
        counts = torch.bincount(drawn[:, row], minlength=5)
        assert counts[row] == 0
        rest = torch.cat([counts[:row], counts[row + 1 :]]).double()
        # The chi-squared statistic with 3 degrees of freedom exceeds 16.3 once in 1,000 times.
        assert ((rest - 1000) ** 2 / 1000).sum() < 16.3
    assert len({tuple(one) for one in drawn.tolist()}) == 24, "one cycle through all rows"


@pytest.mark.parametrize(
    ("users", "own"),
    [([4, 4, 2, 2], 0), ([1, 1, 1, 2, 3, 4], 0), ([1, 1, 2, 2, 3], 0), ([1, 1, 1, 2], 2), ([5], 1), ([5, 5, 5], 3)],
)
def test_users_who_repeat_get_rows_of_others_unless_they_have_most(users, own):
    generator, users = torch.Generator().manual_seed(5), torch.tensor(users)
    for _ in range(50):
        rows = rows_of_others(users, generator)
        assert sorted(rows.tolist()) == list(range(len(users)))
        assert int((users[rows] == users).sum()) == own


def test_a_row_without_a_row_of_another_user_exchanges_nothing(quick):
    scene = Scene(quick, guide="shuffled", **{**LISTS, "exchange": "pointwise"}, lambda_teacher_to_student=1.0)
    whole = scene.batch_of(STUDENT)
    first = Batch(whole.roles, whole.interaction[:1], whole.users[:1], whole.positives[:1])
    assert list(scene.method.loss(STUDENT, first)) == ["cf"]
    ids = torch.tensor([0, 0, 0, int((whole.users != whole.users[0]).nonzero()[0])])
    most = Batch(whole.roles, whole.interaction[ids], whole.users[ids], whole.positives[ids])
    users, items, found, chance = drawn(scene, STUDENT, most)
    rows = rows_of_others(users, torch.Generator().set_state(chance))
    kept = users[rows] != users
    z, target = logits_of(scene.roles[STUDENT].model, users, items), logits_of(scene.roles[TEACHER].model, users, items)
    assert int(kept.sum()) == 2
    assert torch.allclose(found, reference("pointwise", z[kept], target[rows][kept], 1.0), rtol=1e-4)


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "MultiVAE"])
def test_an_untrained_target_is_a_new_model_of_the_other_roles_kind(model, quick):
    scene = Scene(pair(quick, model, "BPR"), guide="untrained", exchange="pointwise", lambda_teacher_to_student=1.0)
    users, items, found, _ = drawn(scene, STUDENT, scene.batch_of(STUDENT))
    config = scene.roles[TEACHER].config
    with seeded(config["seed"], 1):
        new = build_role(TEACHER, config, scene.split.train)
    z = logits_of(scene.roles[STUDENT].model, users, items)
    target = new.target_logits(users, items, learning=False)
    assert torch.allclose(found, reference("pointwise", z, target, 1.0), rtol=1e-4)
    with torch.no_grad():
        for parameter in scene.roles[TEACHER].model.parameters():
            parameter.zero_()
    assert torch.equal(drawn(scene, STUDENT, scene.batch_of(STUDENT))[2].isfinite(), torch.tensor(True))
    assert torch.allclose(scene.method.guides.untrained[TEACHER].logits(users, items), target, atol=1e-6)


def test_self_is_the_learners_own_best_state(quick):
    scene = Scene(quick, guide="self", exchange="pointwise", lambda_teacher_to_student=1.0)
    best = copy.deepcopy(scene.roles[STUDENT].model)
    with torch.no_grad():
        scene.roles[STUDENT].model.user_embedding.weight.mul_(-0.5)
    users, items, found, _ = drawn(scene, STUDENT, scene.batch_of(STUDENT))
    z = logits_of(scene.roles[STUDENT].model, users, items)
    assert torch.allclose(found, reference("pointwise", z, logits_of(best, users, items), 1.0), rtol=1e-4)
    scene.method.new_best(STUDENT)
    scene.method.refresh(1)
    users, items, found, _ = drawn(scene, STUDENT, scene.batch_of(STUDENT))
    z = logits_of(scene.roles[STUDENT].model, users, items)
    assert torch.allclose(found, reference("pointwise", z, z, 1.0), rtol=1e-4)


@pytest.mark.parametrize("guide", PLACEBOS)
def test_no_gradient_reaches_a_placebo_or_the_other_role(guide, quick):
    scene = Scene(quick, guide=guide, **LISTS)
    for role, other in ((STUDENT, TEACHER), (TEACHER, STUDENT)):
        assert scene.gradients(role)[other] == 0
    guides = scene.method.guides
    for model in (guide._copy.model for guide in (*guides.best.values(), *guides.untrained.values())):
        assert all(parameter.grad is None for parameter in model.parameters())
    own = {id(parameter) for role in scene.roles.values() for parameter in role.model.parameters()}
    assert {id(parameter) for parameter in scene.method.parameters()} == own


@pytest.mark.parametrize("guide", PLACEBOS)
def test_a_placebo_leaves_draws_and_batches_as_they_are(guide, quick):
    """The same items, batches and global random numbers as with the other role, in both directions."""
    scenes = [Scene(quick, guide=one, **LISTS) for one in ("other", guide)]
    pools = [scene.method.sampler.pools for scene in scenes]
    assert all(torch.equal(pools[0][role], pools[1][role]) for role in (TEACHER, STUDENT))
    losses = [{role: scene.method.loss(role, scene.batch_of(role)) for role in (TEACHER, STUDENT)} for scene in scenes]
    numbers = [scene.method.sampler.generator.get_state() for scene in scenes]
    assert torch.equal(*numbers)
    for role in (TEACHER, STUDENT):
        assert torch.equal(losses[0][role]["cf"], losses[1][role]["cf"])
        assert not torch.equal(losses[0][role]["distill"], losses[1][role]["distill"])


@pytest.mark.parametrize("learner", [TEACHER, STUDENT])
def test_a_guide_of_one_direction_leaves_the_other(learner, quick):
    scenes = [Scene(quick, **{f"guide_{DIRECTION_INTO[learner]}": one}) for one in ("other", "constant")]
    for role in (TEACHER, STUDENT):
        parts = [scene.method.loss(role, scene.batch_of(role))["distill"] for scene in scenes]
        assert torch.equal(*parts) == (role != learner)


# --- whose ranks choose items ----------------------------------------------------------------------------------------
RANKED = {"sampling": "rank_discrepancy", "shape_teacher_to_student": "exp", "eps_e": 0.2, "rank_scale": "absolute"}


def pools_with(quick, **settings):
    scene = Scene(quick, **{**LISTS, **RANKED, **settings})
    return scene, {role: pool.clone() for role, pool in scene.method.sampler.pools.items()}


@pytest.mark.parametrize("sampling", ["rank_discrepancy", "top"])
@pytest.mark.parametrize("guide", PLACEBOS)
def test_with_ranks_of_the_learner_the_other_role_chooses_nothing(guide, sampling, quick):
    """Whatever the other role knows, the items of the learner stay: but for `shuffled`, which shuffles its ranks."""
    found = []
    for ranks_of in ("learner", "both"):
        scene, first = pools_with(quick, guide=guide, ranks_of=ranks_of, sampling=sampling)
        again, _ = pools_with(quick, guide=guide, ranks_of=ranks_of, sampling=sampling)
        with torch.no_grad():  # another teacher
            again.roles[TEACHER].model.item_embedding.weight.mul_(-1)
        generators = [one.method.sampling_state() for one in (scene, again)]
        assert torch.equal(*(state["generator"] for state in generators))
        for one in (scene, again):
            one.method.refresh(2)
        found.append(torch.equal(*(one.method.sampler.pools[STUDENT] for one in (scene, again))))
        assert len(first[STUDENT])
    assert found == [guide != "shuffled", False]


def test_the_head_of_an_untrained_guides_list(quick):
    scene, pools = pools_with(quick, guide="untrained", ranks_of="learner", sampling="top", top_temperature=0.01)
    new, seen = scene.method.guides.untrained[TEACHER], scene.method.seen
    for user in (1, 5, 20):
        logits = new.all_logits(torch.tensor([user]))[0].clone()
        logits[0] = logits[seen.items[seen.starts[user] : seen.starts[user + 1]]] = -torch.inf
        start = int(scene.method.sampler.starts[STUDENT][user])
        assert pools[STUDENT][start] == logits.argmax()


def test_the_head_of_the_list_for_another_user(quick):
    """Each user's first item is the best of the other role for some other user, and every user serves once."""
    settings = {"guide": "shuffled", "sampling": "top", "top_temperature": 0.01}
    scene, pools = pools_with(quick, ranks_of="learner", **settings)
    guides, role, seen = scene.method.guides, scene.roles[TEACHER], scene.method.seen
    state = torch.Generator().manual_seed((scene.config["seed"] + 2**17) % 2**32).get_state()
    guides.generator.set_state(state)
    ranking = guides.rankings()["teacher for another user"]
    users = torch.arange(1, role.n_users)
    logits = ranking(users).detach().clone()
    rows = role.all_logits(users).detach()
    partner = torch.tensor([int((rows == row).all(1).nonzero()[0]) for row in logits])
    assert sorted(partner.tolist()) == list(range(len(users)))
    assert (partner != torch.arange(len(users))).all()
    for user in (1, 5, 20):
        own = logits[user - 1].clone()
        own[0] = own[seen.items[seen.starts[user] : seen.starts[user + 1]]] = -torch.inf
        assert pools[STUDENT][int(scene.method.sampler.starts[STUDENT][user])] == own.argmax()


def test_a_random_order_is_uniform_and_one_whatever_is_asked():
    users, items = torch.arange(1, 2001), torch.arange(7)
    logits = random_logits(users, items, 11)
    assert torch.equal(random_logits(users[5:7], items[2:4].expand(2, -1), 11), logits[5:7, 2:4])
    assert not torch.equal(random_logits(users, items, 12), logits)
    places = logits.argsort(dim=1)
    for item in range(7):
        counts = Counter((places == item).nonzero()[:, 1].tolist())
        # The chi-squared statistic with 6 degrees of freedom exceeds 22.5 once in 1,000 times.
        assert sum((counts[place] - 2000 / 7) ** 2 / (2000 / 7) for place in range(7)) < 22.5
    first, second = (random_logits(users, items, number).argmax(1) for number in (1, 2))
    assert abs(float((first == second).float().mean()) - 1 / 7) < 0.03


# --- resume ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [{"guide": guide, "ranks_of": ranks_of} for guide in PLACEBOS for ranks_of in ("both", "learner")],
    ids=lambda settings: "-".join(settings.values()),
)
def test_a_restored_placebo_goes_on_bitwise_equal(settings, quick):
    scenes = [Scene(quick, **{**LISTS, **RANKED, **settings}) for _ in range(2)]
    first, second = scenes
    for step, batch in enumerate(first.batches[:3]):
        first.method.loss(STUDENT, batch)
        if step == 1:
            with torch.no_grad():
                first.roles[STUDENT].model.user_embedding.weight.mul_(1.5)
            first.method.new_best(STUDENT)
            first.method.refresh(2)
    second.method.load_state_dict(first.method.state_dict())
    second.method.load_sampling_state(copy.deepcopy(first.method.sampling_state()))
    for epoch in (3, 4):
        for scene in scenes:
            scene.method.refresh(epoch)
        for batch in first.batches:
            for role in batch.roles:
                parts = [scene.method.loss(role, batch)["distill"] for scene in scenes]
                assert torch.equal(*parts)


def test_processes_share_no_batch_whose_rows_are_shuffled(quick):
    assert Scene(quick).method.shares_batches
    assert not Scene(quick, guide="shuffled").method.shares_batches
    assert Scene(quick, guide_teacher_to_student="shuffled", directions="student_to_teacher").method.shares_batches


def test_the_papers_form_takes_placebos_too(quick):
    scene = Scene(quick, **{**PAPER, "guide": "constant", "distill_epochs": 2})
    before = scene.states()
    scene.trained()
    assert not equal_states(before, scene.states())
