"""BD's own loss, options, samples and best states."""

import copy
import math
import re

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model import losses
from recbole_bd.model.exchange import EXCHANGE_LOSSES
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.paths import ROOT
from tests.helpers.rankings import ranking
from tests.helpers.scenes import Scene, equal_states, pair
from tests.helpers.settings import PAPER


def test_the_loss_is_the_papers(quick):
    """L_role = L_CF + lambda * BCE(z_role, sigmoid(z_other / tau)) on the drawn items."""
    weights = {"lambda_teacher_to_student": 0.3, "lambda_student_to_teacher": 0.7}
    scene = Scene(quick, **{**PAPER, **weights, "temperature": 2.0})
    for role, weight in ((STUDENT, 0.3), (TEACHER, 0.7)):
        batch = scene.batch_of(role)
        state = scene.method.sampler.generator.get_state()
        parts = scene.method.loss(role, batch)
        scene.method.sampler.generator.set_state(state)
        items = scene.method.sampler.sample(role, batch.users, 1)
        own, other = scene.roles[role].model, scene.method.other(role).model
        z, target = (
            (model.user_embedding(batch.users) * model.item_embedding(items[:, 0])).sum(1, keepdim=True)
            for model in (own, other)
        )
        assert torch.allclose(parts["cf"], own.calculate_loss(batch.interaction))
        assert torch.allclose(parts["distill"], weight * losses.pointwise_exchange(z, target, 2.0), rtol=1e-5)


@pytest.mark.slow
def test_each_direction_may_have_an_exchange_and_a_temperature_of_its_own(quick):
    """The student's loss is that of a run with the one kind in both directions, the teacher's that with the other."""

    def distill(role, **more):
        scene = Scene(quick, samples_per_positive=3, **more)
        return scene.method.loss(role, scene.batch_of(role))["distill"]

    kinds = {"exchange_teacher_to_student": "pairwise", "exchange_student_to_teacher": "pointwise"}
    each = {**kinds, "exchange": "listwise", "temperature": 4.0, "temperature_student_to_teacher": 3.0}
    assert torch.equal(distill(STUDENT, **each), distill(STUDENT, exchange="pairwise", temperature=4.0))
    assert torch.equal(distill(TEACHER, **each), distill(TEACHER, exchange="pointwise", temperature=3.0))
    rest = {"exchange_teacher_to_student": "listwise", "temperature_teacher_to_student": 3.0}
    assert torch.equal(distill(TEACHER, exchange="pointwise", **rest), distill(TEACHER, exchange="pointwise"))
    assert not torch.equal(distill(STUDENT, exchange="pointwise", **rest), distill(STUDENT, exchange="pointwise"))


@pytest.mark.parametrize("exchange", ["listwise", "pairwise"])
def test_the_batchs_positive_comes_first(exchange, quick, monkeypatch):
    seen = {}

    def spy(logits, targets, temperature, temperature_on):
        seen["logits"] = logits
        return logits.sum()

    monkeypatch.setitem(EXCHANGE_LOSSES, exchange, spy)
    scene = Scene(quick, exchange=exchange, samples_per_positive=3, list_positive_teacher_to_student=True)
    batch = scene.batch_of(STUDENT)
    scene.method.loss(STUDENT, batch)
    model = scene.roles[STUDENT].model
    positive = (model.user_embedding(batch.users) * model.item_embedding(batch.positives)).sum(1)
    assert seen["logits"].shape == (len(batch.users), 4)
    assert torch.allclose(seen["logits"][:, 0], positive)


def test_a_list_without_the_positive_holds_what_was_sampled(quick, monkeypatch):
    seen = []
    monkeypatch.setitem(EXCHANGE_LOSSES, "listwise", lambda logits, *_, **__: seen.append(logits.shape) or logits.sum())
    scene = Scene(quick, exchange="listwise", samples_per_positive=3, list_positive_teacher_to_student=False)
    batch = scene.batch_of(STUDENT)
    monkeypatch.setattr(scene.method.seen, "random_positive", None)
    scene.method.loss(STUDENT, batch)
    assert seen == [(len(batch.users), 3)]
    with pytest.raises(ConfigError, match=r"two items: .* or list_positive_teacher_to_student=True"):
        Scene(quick, exchange="listwise", samples_per_positive=1, list_positive_student_to_teacher=False)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"guide": "shuffled", "train_batch_size": 1}, True),
        ({"guide": "shuffled", "student.distill_batch_size": 1}, True),
        ({"guide": "shuffled", "train_batch_size": 1, "distill_batch_size": 2}, False),
        ({"guide_student_to_teacher": "shuffled", "student.train_batch_size": 1}, False),
        ({"train_batch_size": 1}, False),
    ],
)
def test_rows_of_other_users_need_two_users_in_a_batch(settings, refused, quick):
    if not refused:
        Scene(quick, **settings)
        return
    with pytest.raises(ConfigError, match="guide=shuffled needs two users in a batch: use train_batch_size=2 or more"):
        Scene(quick, **settings)


@pytest.mark.parametrize(("directions", "taught"), [("teacher_to_student", STUDENT), ("student_to_teacher", TEACHER)])
def test_one_direction_leaves_the_other_role_to_its_own_loss(directions, taught, quick):
    scene = Scene(quick, directions=directions)
    for role in (TEACHER, STUDENT):
        assert ("distill" in scene.method.loss(role, scene.batch_of(role))) == (role == taught)
    assert list(scene.method.sampler.pools) == [taught]


@pytest.mark.parametrize("exchange", ["pointwise", "listwise", "pairwise"])
def test_users_without_training_items_exchange_nothing(exchange, quick, tmp_path, monkeypatch):
    for part, rows in {"train": block_pairs(), "valid": [("u0", "i47"), ("new", "i3")], "test": [("u1", "i0")]}.items():
        write_inter(tmp_path, "late", rows, part)
    settings = {**pair(quick, "CDAE", "CDAE"), "dataset": "late", "data_path": str(tmp_path)}
    scene = Scene(settings, benchmark_filename=["train", "valid", "test"], **{**PAPER, "exchange": exchange})
    (batch,) = scene.batches
    late = int(scene.split.dataset.token2id("user_id", "new"))
    assert late in batch.users
    asked = []
    original = scene.roles[STUDENT].pair_logits
    monkeypatch.setattr(scene.roles[STUDENT], "pair_logits", lambda u, i: asked.append((u, i)) or original(u, i))
    parts = scene.method.loss(STUDENT, batch)
    assert torch.isfinite(parts["distill"])
    ((users, items),) = asked
    assert sorted(users.tolist()) == sorted(set(batch.users.tolist()) - {late})
    if exchange != "pointwise":
        train = set(zip(*(ids.tolist() for ids in scene.split.pairs("train")), strict=True))
        assert set(zip(users.tolist(), items[:, 0].tolist(), strict=True)) <= train


def test_samples_by_the_users_own_positives_are_the_public_codes_sum(quick, tmp_path):
    """L_role = L_CF + lambda / k * sum over u and k * |I_u+| drawn items of BCE(z_role, sigmoid(z_other / tau))."""
    write_inter(tmp_path, "uneven", [*block_pairs()[::2], ("u0", "i40"), ("u1", "i41")])
    settings = {**pair(quick, "CDAE", "CDAE"), **PAPER, "dataset": "uneven", "data_path": str(tmp_path)}
    settings |= {"samples_of_user": "own", "samples_per_positive": 3}
    scene = Scene(settings, temperature=2.0, lambda_teacher_to_student=1.5, train_batch_size=20, corruption_ratio=0.0)
    batch = scene.batch_of(STUDENT)
    counts = torch.bincount(scene.split.pairs("train")[0], minlength=scene.split.n_users)
    state = scene.method.sampler.generator.get_state()
    parts = scene.method.loss(STUDENT, batch)
    scene.method.sampler.generator.set_state(state)
    drawn = scene.method.sampler.sample(STUDENT, batch.users, 3 * int(counts[batch.users].max()))
    logits, targets = (scene.roles[role].all_logits(batch.users) for role in (STUDENT, TEACHER))
    total = 0.0
    for row, user in enumerate(batch.users.tolist()):
        items = drawn[row, : 3 * counts[user]]
        target = torch.sigmoid(targets[row, items] / 2).detach()
        total += torch.nn.functional.binary_cross_entropy_with_logits(logits[row, items], target, reduction="sum")
    assert counts[batch.users].unique().numel() > 1
    torch.testing.assert_close(parts["distill"], 1.5 / 3 * total)


def test_samples_by_the_users_own_positives_make_no_lists(quick):
    with pytest.raises(ConfigError, match=r"samples_of_user=own .* needs exchange=pointwise"):
        Scene(quick, samples_of_user="own")


def test_samples_are_drawn_anew_every_period_only(quick):
    scene = Scene(quick, refresh_period=3, distill_epochs=9)
    pools = []
    for epoch in range(1, 7):
        due = scene.method.refresh(epoch)
        assert due == (epoch % 3 == 0)
        pools.append(scene.method.sampler.pools[STUDENT].clone())
    assert torch.equal(pools[0], pools[1])
    assert not torch.equal(pools[1], pools[2])


def test_a_user_has_as_many_draws_as_a_period_needs_up_to_a_limit(quick, monkeypatch):
    monkeypatch.setattr("recbole_bd.model.batch_items._LEAST_LIMIT", 20)
    monkeypatch.setattr("recbole_bd.model.batch_items._MOST_LISTS", 30)
    method = Scene(quick, samples_per_positive=2, refresh_period=3, distill_epochs=9).method
    wanted = method.seen.counts[1:] * 2 * 3
    assert torch.equal(method.sampler.sizes[STUDENT][1:], wanted.clamp(1, max(60, method.drawn.per_user[STUDENT])))


def test_each_direction_may_have_its_own_number_of_items(quick):
    """The other direction draws as it does without the option."""
    given = {"samples_per_positive": 3, "refresh_period": 2, "distill_epochs": 8}
    both = Scene(quick, **given).method
    own = Scene(quick, samples_per_positive_student_to_teacher=5, **given).method
    assert own.drawn.per_positive == {STUDENT: 3, TEACHER: 5}
    assert torch.equal(own.sampler.sizes[STUDENT], both.sampler.sizes[STUDENT])
    assert torch.equal(own.sampler.sizes[TEACHER][1:], (own.seen.counts[1:] * 5 * 2).clamp(1, 320))
    scene = Scene(quick, samples_per_positive_student_to_teacher=5, **given)
    shapes = {role: scene.method._drawn(role, scene.batch_of(role)).items.shape[1] for role in (TEACHER, STUDENT)}
    assert shapes == {TEACHER: 5, STUDENT: 3}


def test_too_many_items_for_one_direction_are_refused_by_its_option(quick):
    with pytest.raises(ConfigError, match="samples_per_positive_student_to_teacher=9999: above the number of items"):
        Scene(quick, samples_per_positive_student_to_teacher=9999)
    with pytest.raises(ConfigError, match="samples_per_positive_teacher_to_student=2 or more"):
        Scene(quick, samples_per_positive_teacher_to_student=1)


def test_the_linear_schedule_reaches_the_full_weight(quick):
    scene = Scene(
        quick, lambda_schedule="linear", lambda_warmup_epochs=4, lambda_teacher_to_student=0.8, refresh_period=99
    )
    found = []
    for epoch in range(6):
        scene.method.refresh(epoch)
        found.append(scene.method.weight[STUDENT])
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_the_weight_of_one_direction_may_decay(quick):
    form = {"lambda_schedule_student_to_teacher": "decay", "lambda_decay_epochs": 2.0}
    scene = Scene(quick, lambda_student_to_teacher=0.5, lambda_teacher_to_student=3.0, **form)
    found = []
    for epoch in range(3):
        scene.method.refresh(epoch)
        assert scene.method.weight[STUDENT] == 3.0
        found.append(scene.method.weight[TEACHER])
    assert found == pytest.approx([0.5, 0.5 * math.exp(-0.5), 0.5 * math.exp(-1)])
    whole = Scene(quick, lambda_student_to_teacher=0.5)
    terms = [float(one.method.loss(TEACHER, one.batch_of(TEACHER))["distill"]) for one in (scene, whole)]
    assert 0 < terms[0] < terms[1]


def test_the_teacher_learns_on_what_stands_among_the_students_first(quick):
    scene = Scene(
        quick, sampling="rank_discrepancy", rank_scale="absolute", shape_student_to_teacher="exp", eps_e=0.05,
        rank_order_student_to_teacher="paper", guide_top_student_to_teacher=5,
    )  # fmt: skip
    sampler = scene.method.sampler
    users = torch.arange(1, scene.split.n_users)
    items = sampler.sample(TEACHER, users, 40)
    for user, drawn in zip(users.tolist()[:30], items.tolist(), strict=False):
        assert set(drawn) <= set(ranking(scene, STUDENT, user)[:5])
    others = sampler.sample(STUDENT, users, 40).tolist()
    assert not all(set(drawn) <= set(ranking(scene, TEACHER, u + 1)[:5]) for u, drawn in enumerate(others[:30]))


def test_distilled_negatives_replace_the_sampled_ones(quick):
    scene = Scene(quick, **{**PAPER, "cf_negatives": "distilled"})
    batch = scene.batch_of(STUDENT)
    before = batch.interaction["neg_item_id"].clone()
    state = scene.method.sampler.generator.get_state()
    cf = scene.method.loss(STUDENT, batch)["cf"]
    scene.method.sampler.generator.set_state(state)
    items = scene.method.sampler.sample(STUDENT, batch.users, 1)[:, 0]
    model = scene.roles[STUDENT].model
    user = model.user_embedding(batch.users)
    score = [(user * model.item_embedding(ids)).sum(1) for ids in (batch.positives, items)]
    assert torch.allclose(cf, -torch.log(1e-10 + torch.sigmoid(score[0] - score[1])).mean())
    assert torch.equal(batch.interaction["neg_item_id"], before)  # the teacher's negatives are its own


def test_distilled_negatives_need_pairwise_models(quick):
    with pytest.raises(ConfigError, match=r"the teacher NeuMF is not one: use cf_negatives=sampled"):
        Scene(pair(quick, "NeuMF", "BPR"), cf_negatives="distilled")


@pytest.mark.parametrize(("state", "period", "first"), [("current", 2, 1), ("best", 1, 2), ("best", 2, 1)])
def test_a_graph_model_propagates_once_a_step(state, period, first, quick, monkeypatch):
    """So does a best state, or not at all where its logits of the drawn items are kept."""
    from recbole.model.general_recommender import LightGCN

    scene = Scene(pair(quick, "LightGCN", "BPR"), guide_state=state, refresh_period=period)
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(1) or original(self))
    counts = []
    for number, batch in enumerate(scene.batches[:3]):
        assert batch.roles == (TEACHER, STUDENT)
        if number == 2:
            scene.method.new_best(TEACHER)
        calls.clear()
        with scene.method.step():
            total = sum(part for role in batch.roles for part in scene.method.loss(role, batch).values())
            total.backward()
        counts.append(len(calls))
    assert counts == [first, 1, first]


def test_the_best_state_teaches_until_there_is_a_better_one(quick):
    scene = Scene(quick, guide_state="best")
    batch = scene.batch_of(STUDENT)
    items = torch.arange(1, 6).repeat(len(batch.users), 1)

    def targets():
        return scene.method.best_guides[TEACHER].logits(batch.users, items)

    teacher = scene.roles[TEACHER]
    first = teacher.target_logits(batch.users, items, learning=False)
    assert torch.equal(targets(), first)
    with torch.no_grad():
        teacher.model.item_embedding.weight.mul_(-1)
    assert torch.equal(targets(), first)
    state = scene.method.sampling_state()
    state = {**state, "guides": copy.deepcopy(state["guides"])}
    scene.method.new_best(TEACHER)
    assert torch.equal(targets(), -first)
    scene.method.load_sampling_state(state)
    assert torch.equal(targets(), first)
    assert scene.gradients(STUDENT)[TEACHER] == 0
    assert not any(name.startswith("best_guides") for name, _ in scene.method.named_parameters())


def ablations() -> dict[str, dict]:
    """Settings of the tables of ablations in the documentation, by name."""
    text = (ROOT / "docs" / "ablations.md").read_text().partition("## Ablations of BD")[2]
    rows = re.findall(r"^\| (.+?) \| `(--.+?)` \|$", text, re.MULTILINE)
    return {name: parse_arguments(options.split())[0] for name, options in rows}


@pytest.mark.slow
def test_ablations_are_configuration_only(quick):
    def trained(**settings) -> dict[str, torch.Tensor]:
        scene = Scene(quick, **{**PAPER, "eps_e": 0.1, "eps_t": 0.1, **settings})
        scene.trained()
        return scene.states()

    found = {name: trained(**settings) for name, settings in ablations().items()} | {"BD": trained()}
    assert len(found) == 25, "the page's tables"
    names = list(found)
    for place, name in enumerate(names):
        assert not any(equal_states(found[name], found[other]) for other in names[:place]), f"{name} changes nothing"


def test_a_batch_without_training_items_has_the_own_loss_alone(quick, tmp_path):
    """The users of a loader of users may be new in the validation part."""
    for part, rows in {"train": block_pairs(), "valid": [("new", "i3")], "test": [("u1", "i0")]}.items():
        write_inter(tmp_path, "late", rows, part)
    settings = {**pair(quick, "BPR", "CDAE"), "dataset": "late", "data_path": str(tmp_path)}
    scene = Scene(settings, benchmark_filename=["train", "valid", "test"])
    late = torch.tensor([scene.split.dataset.token2id("user_id", "new")])
    batch = Batch((STUDENT,), Interaction({"user_id": late}), late, None)
    parts = scene.method.loss(STUDENT, batch)
    assert list(parts) == ["cf"]
    scene.method.eval()  # no dropout
    assert torch.equal(scene.method.loss(STUDENT, batch)["cf"], scene.roles[STUDENT].loss(batch.interaction))


def test_a_guide_that_takes_no_step_teaches_without_dropout(quick, monkeypatch):
    scene, told = Scene(quick, guide_state="current"), []

    def target_logits(self, users, items, learning):
        told.append((self.name, learning))
        return torch.zeros(items.shape)

    monkeypatch.setattr(Role, "target_logits", target_logits)
    method, batch = scene.method, scene.batch_of(STUDENT)
    method.loss(STUDENT, batch)
    method.paused = {TEACHER}
    method.loss(STUDENT, batch)
    method.paused, method.resting = set(), [TEACHER]
    method.loss(STUDENT, batch)
    method.resting, method.turns.now = [], STUDENT
    method.loss(STUDENT, batch)
    assert told == [(TEACHER, True), (TEACHER, False), (TEACHER, False), (TEACHER, False)]


def test_an_epoch_without_a_user_to_roll_draws_nothing(quick):
    scene = Scene(quick, refresh_users="rolling", refresh_period=100, distill_epochs=200)
    pools = {name: pool.clone() for name, pool in scene.method.sampler.pools.items()}
    assert scene.method.n_users < 90
    assert not scene.method.refresh(90)
    assert all(torch.equal(pool, pools[name]) for name, pool in scene.method.sampler.pools.items())
    assert scene.method.refresh(1)
