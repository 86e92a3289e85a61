"""Where a sequential learner exchanges: after the history of each row, or after all training items of its user."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.data.batches import Batch
from recbole_bd.model import METHODS
from recbole_bd.model.topology import hierarchical_topology
from recbole_bd.sampler.draws import draw_positions
from recbole_bd.system.distributed import Group
from tests.helpers.histories import scenes
from tests.helpers.settings import make_config


@pytest.fixture
def scene(tmp_path):
    return scenes(tmp_path)


def calls_of(model, monkeypatch) -> list[tuple[torch.Tensor, bool]]:
    """The histories that a model reads from here on, with its mode."""
    seen, forward = [], model.forward

    def counted(item_seq, *others):
        seen.append((item_seq, model.training))
        return forward(item_seq, *others)

    monkeypatch.setattr(model, "forward", counted, raising=False)
    return seen


def test_a_row_is_scored_after_its_own_history_by_learner_and_guide(scene):
    method, batches = scene("GRU4Rec", "GRU4Rec", exchange="pointwise", temperature=2.0)
    batch = batches[0]
    lists, state = batch.interaction["item_id_list"], method.sampler.generator.get_state()
    parts = method.loss(STUDENT, batch)
    method.sampler.generator.set_state(state)
    drawn = method.drawn.draw(method.sampler, STUDENT, batch, False)
    users, items = drawn.users, drawn.items
    lengths = batch.interaction["item_length"]
    student, teacher = method.roles[STUDENT].model, method.roles[TEACHER].model
    own = (student(lists, lengths).unsqueeze(1) * student.item_embedding.weight[items]).sum(-1)
    with torch.no_grad():
        target = (teacher(lists, lengths).unsqueeze(1) * teacher.item_embedding.weight[items]).sum(-1)
    term = method.exchanges[STUDENT].loss(own, target, 2.0, "target")
    assert torch.allclose(parts["distill"], method.weight[STUDENT] * term, rtol=1e-5)
    assert len(users) == len(lists)


@pytest.mark.parametrize("at", ["rows", "users"])
def test_the_history_that_is_read(at, scene, monkeypatch):
    method, batches = scene("GRU4Rec", "GRU4Rec", exchange_at=at)
    batch, split_lists = batches[0], {}
    sequences = method.roles[STUDENT].model.sequences
    whole = sequences.of_users(batch.users.unique())["item_id_list"]
    for name in (TEACHER, STUDENT):
        method.roles[name].model.train()
        split_lists[name] = calls_of(method.roles[name].model, monkeypatch)
    method.loss(STUDENT, batch)
    own, guide = split_lists[STUDENT], split_lists[TEACHER]
    rows = batch.interaction["item_id_list"]
    assert [mode for _, mode in own] == [True] * len(own)
    assert [mode for _, mode in guide] == [False]
    if at == "rows":
        assert len(own) == 1  # the own loss and the exchange share one forward
        assert torch.equal(own[0][0], rows)
        assert torch.equal(guide[0][0], rows)
    else:
        assert torch.equal(own[0][0], rows)
        assert torch.equal(own[1][0], whole)
        assert torch.equal(guide[0][0], whole)


def test_a_general_role_scores_the_rows_users(scene):
    method, batches = scene("BPR", "GRU4Rec")
    batch = next(batch for batch in batches if STUDENT in batch.roles)
    state = method.sampler.generator.get_state()
    term = method.loss(STUDENT, batch)["distill"]
    method.sampler.generator.set_state(state)
    drawn = method.drawn.draw(method.sampler, STUDENT, batch, False)
    users, items = drawn.users, drawn.items
    target = method.roles[TEACHER].target_logits(users, items, learning=True)
    logits = method.roles[STUDENT].pair_logits(method.units(STUDENT, users, batch), items)
    expected = method.exchanges[STUDENT].loss(logits, target, 1.0, "target")
    assert torch.allclose(term, method.weight[STUDENT] * expected, rtol=1e-5)
    general = next(batch for batch in batches if TEACHER in batch.roles)
    assert "item_id_list" not in general.interaction
    assert torch.isfinite(method.loss(TEACHER, general)["distill"])  # its guide scores after all training items


@pytest.mark.parametrize("name", ["GRU4Rec", "CORE"])
def test_only_the_learner_gets_a_gradient_and_scopes_are_left(name, scene):
    method, batches = scene(name, name)
    for role in method.learners:
        for other in method.roles.values():
            other.model.zero_grad()
        forward = method.roles[role].model.forward
        sum(method.loss(role, batches[1]).values()).backward()
        assert method.roles[role].model.forward == forward
        other = method.other(role).model
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in other.parameters())
        assert any(
            parameter.grad is not None and parameter.grad.any() for parameter in method.roles[role].model.parameters()
        )


def test_drawn_items_are_no_training_items_and_no_padding(scene):
    method, batches = scene("GRU4Rec", "GRU4Rec")
    for batch in batches[:4]:
        for role in method.learners:
            drawn = method.drawn.draw(method.sampler, role, batch, False)
            users, items = drawn.users, drawn.items
            assert (items > 0).all()
            keys = set((method.seen.of(torch.arange(method.n_users))[0] * method.n_items).tolist())
            assert keys  # users have training items
            seen = {(int(u), int(i)) for u, i in zip(*method.seen.of(torch.arange(method.n_users)), strict=True)}
            assert not {(int(u), int(i)) for u, row in zip(users, items, strict=True) for i in row} & seen


def test_the_option_is_told_where_no_model_is_sequential():
    notes = settings_notes(make_config({"exchange_at": "users"}))
    assert [note for note in notes if note.startswith("exchange_at=")]
    assert METHODS["BD"].shares_batches


Scored = dict[str, Tensor]  # logits of all items by role, and the users


def log_softmax_of(logits: Tensor, listed: Tensor) -> Tensor:
    return torch.log_softmax(logits.masked_fill(~listed, -torch.inf), dim=1).masked_fill(~listed, 0)


def cross_entropy(own: Tensor, target: Tensor, listed: Tensor) -> Tensor:
    return -(log_softmax_of(target, listed).exp() * listed * log_softmax_of(own, listed)).sum(dim=1)


def taken(lists: Tensor, users: Tensor, n_items: int) -> Tensor:
    """Which items are in the lists of users. bool [B, n_items]."""
    found = torch.zeros(len(users), n_items, dtype=torch.bool).scatter_(1, lists[users].long(), True)
    return found & (torch.arange(n_items) > 0)


def ordered(items: Tensor, target: Tensor, is_kept: bool) -> Tensor:
    """Items by the teacher's logits, best first, or as they are listed."""
    return items if is_kept else items.gather(1, target.gather(1, items).argsort(dim=1, descending=True))


def rd(method, of: Scored, is_kept: bool) -> Tensor:
    items = ordered(method.lists[of["users"]].long(), of[TEACHER], is_kept)
    weights = torch.softmax(-torch.arange(1.0, items.shape[1] + 1) / 10, dim=0)
    return -(weights * F.logsigmoid(of[STUDENT].gather(1, items))).sum(dim=1).mean()


def rrd(method, of: Scored, is_kept: bool) -> Tensor:
    items = ordered(method.interesting[of["users"]].long(), of[TEACHER], is_kept)
    below = of[STUDENT].gather(1, method.uninteresting[of["users"]].long()).exp().sum(dim=1)
    own = of[STUDENT].gather(1, items)
    terms = [own[:, k] - (own[:, k:].exp().sum(dim=1) + below).log() for k in range(items.shape[1])]
    return -torch.stack(terms).sum(dim=0).mean()


def ce(method, of: Scored, is_kept: bool) -> Tensor:
    n_items = method.n_items
    if method.takes_all:
        listed = torch.ones(len(of["users"]), n_items, dtype=torch.bool)
        listed[:, 0], listed[method.seen.of(of["users"])] = False, False
    else:
        listed = taken(method.lists, of["users"], n_items)
    return cross_entropy(of[STUDENT], of[TEACHER], listed).mean()


def rcekd(method, of: Scored, is_kept: bool) -> Tensor:
    length, users = method.config["top_items"], of["users"]
    own = taken(method.items[:, :length], users, method.n_items)
    shared = taken(method.items[:, length:], users, method.n_items)
    share = torch.exp(-3.0 * method.overlap[users])
    terms = [cross_entropy(of[STUDENT], of[TEACHER], listed) for listed in (own, shared)]
    return ((1 - share) * terms[0] + share * terms[1]).mean()


def unkd(method, of: Scored, is_kept: bool) -> Tensor:
    pairs = torch.stack([method.higher[of["users"]], method.lower[of["users"]]], dim=2).long()
    flat = ordered(pairs.view(-1, 2), of[TEACHER].repeat_interleave(pairs.shape[1], dim=0), is_kept)
    logits = of[STUDENT].repeat_interleave(pairs.shape[1], dim=0).gather(1, flat)
    terms = -F.logsigmoid(logits[:, 0] - logits[:, 1]).view(pairs.shape[:2])
    listed = pairs[:, :, 0] > 0
    return ((terms * listed).sum(dim=1) / listed.sum(dim=1).clamp(min=1)).mean()


def kdcl(method, of: Scored, is_kept: bool) -> Tensor:
    listed = taken(method.lists, of["users"], method.n_items)
    total = torch.zeros(listed.shape)
    for name, share in ((TEACHER, method.config["teacher_weight"]), (STUDENT, 1 - method.config["teacher_weight"])):
        logits = of[name].detach().masked_fill(~listed, torch.nan)
        centred = logits - logits.nanmean(dim=1, keepdim=True)
        total += share * (centred / centred.square().nanmean(dim=1, keepdim=True).sqrt()).nan_to_num()
    return cross_entropy(of[STUDENT], total / method.config["temperature"], listed).mean()


# Equations of the methods on the logits of all items, with options that shorten them.
EQUATIONS: dict[str, tuple[Callable, dict]] = {
    "RD": (rd, {"top_items": 5, "dynamic_weights": False}),
    "RRD": (rrd, {"interesting_items": 4, "uninteresting_items": 6}),
    "CE": (ce, {"top_items": 6}),
    "CE all": (ce, {"items": "all"}),
    "RCEKD": (rcekd, {"top_items": 5, "sampled_items": 5, "sampled_from": 12}),
    "UnKD": (unkd, {"pairs_per_user": 6, "popularity_groups": 2}),
    "DML": (ce, {"top_items": 6}),
    "DML all": (ce, {"items": "all"}),
    "KDCL": (kdcl, {"top_items": 6}),
}


def scored_by(method, batch: Batch, at: str) -> Scored:
    """Logits of all items for the rows of a batch, or for its users, by the models themselves."""
    users = batch.users
    if at == "users":
        users = users if method.config["model"] in ("RD", "UnKD") else users.unique()
        histories = method.roles[STUDENT].model.sequences.of_users(users)
    else:
        histories = batch.interaction
    found: Scored = {"users": users}
    for name, role in method.roles.items():
        model = role.model
        vectors = model(histories["item_id_list"], histories["item_length"])
        found[name] = vectors @ model.item_embedding.weight.T
    found[TEACHER] = found[TEACHER].detach()
    return found


@pytest.mark.parametrize("at", ["rows", "users"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_methods_compare_both_roles_after_the_same_histories(name, at, scene):
    equation, options = EQUATIONS[name]
    method, batches = scene("GRU4Rec", "GRU4Rec", model=name.split()[0], exchange_at=at, **options)
    batch = batches[0]
    parts = method.loss(STUDENT, batch)
    expected = equation(method, scored_by(method, batch, at), at == "users")
    assert torch.allclose(parts["distill"], method.config["lambda_teacher_to_student"] * expected, rtol=2e-4)
    sum(parts.values()).backward()
    weights = [*method.roles[STUDENT].model.parameters()]
    found = [weight.grad.clone() for weight in weights]
    method.roles[STUDENT].model.zero_grad()
    again = method.config["lambda_teacher_to_student"] * equation(method, scored_by(method, batch, at), at == "users")
    (again + method.roles[STUDENT].loss(batch.interaction)).backward()
    for own, weight in zip(found, weights, strict=True):
        assert torch.allclose(own, weight.grad, rtol=1e-3, atol=1e-6)
    assert all(weight.grad is None or not weight.grad.any() for weight in method.roles[TEACHER].model.parameters())


@pytest.mark.parametrize("at", ["rows", "users"])
def test_cd_learns_the_teachers_logits_after_the_same_histories(at, scene):
    method, batches = scene("GRU4Rec", "GRU4Rec", model="CD", exchange_at=at, samples_per_positive=4)
    batch, state = batches[0], method.generator.get_state()
    term = method.loss(STUDENT, batch)["distill"]
    method.generator.set_state(state)
    lengths = (method.n_items - 1 - method.seen.counts[batch.users]).clamp(max=method.lists.shape[1])
    positions = draw_positions(lengths, 4, method.config["rank_temperature"], method.generator)
    items = method.lists[batch.users.unsqueeze(1), positions].long()
    histories = batch.interaction if at == "rows" else method.roles[STUDENT].model.sequences.of_users(batch.users)
    student, teacher = (
        role.model(histories["item_id_list"], histories["item_length"]) @ role.model.item_embedding.weight.T
        for role in (method.roles[STUDENT], method.roles[TEACHER])
    )
    target = torch.sigmoid(teacher.gather(1, items).detach())
    expected = F.binary_cross_entropy_with_logits(student.gather(1, items), target)
    assert torch.allclose(term, method.weight * expected, rtol=1e-4)
    assert (method.targets is None) == (at == "rows")


def test_a_model_without_vectors_learns_full_lists_at_rows(scene):
    """The gradient of a block must not free what the pass of the own loss has kept."""
    method, batches = scene("GRU4Rec", "CORE", model="DML", items="all")
    method.loss(STUDENT, batches[0])["distill"].backward()
    parts = method.loss(STUDENT, batches[0])
    sum(parts.values()).backward()
    assert torch.isfinite(parts["distill"])


@pytest.mark.parametrize("name", ["RD", "CD", "RRD", "CE", "RCEKD", "UnKD", "DML", "KDCL"])
def test_a_sequential_student_of_a_general_teacher_learns_at_rows(name, scene):
    method, batches = scene("BPR", "GRU4Rec", model=name, **EQUATIONS.get(name, (None, {}))[1])
    batch = next(batch for batch in batches if STUDENT in batch.roles)
    seen = []
    forward = method.roles[STUDENT].model.forward
    method.roles[STUDENT].model.forward = lambda *histories: (seen.append(histories[0]), forward(*histories))[1]
    method.roles[STUDENT].model.train()
    assert torch.isfinite(method.loss(STUDENT, batch)["distill"])
    # Own loss and distillation share one pass; the ensemble takes the score without dropout as well.
    assert len(seen) == (2 if name == "KDCL" else 1)
    assert torch.equal(seen[0], batch.interaction["item_id_list"])


def test_the_switch_sees_the_rows(scene, monkeypatch):
    method, batches = scene("GRU4Rec", "GRU4Rec", pause="switokd")
    seen = calls_of(method.roles[TEACHER].model, monkeypatch)
    method.pauses(TEACHER, batches[0])
    assert torch.equal(seen[0][0], batches[0].interaction["item_id_list"])


def test_shares_of_a_batch_have_the_rows_of_their_users():
    """RecBole repeats the rows for each of several negatives."""
    users, items = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    lists = torch.tensor([[7, 0], [8, 0], [9, 0]])
    columns = {"user_id": users.repeat(2), "item_id": items.repeat(2), "item_id_list": lists.repeat(2, 1)}
    batch = Batch((STUDENT,), Interaction(columns), users, items, torch.arange(6))
    shares = [batch.share(Group(rank, 2))[0] for rank in range(2)]
    assert [len(share.interaction) for share in shares] == [3, 3]
    for share in shares:
        assert torch.equal(share.rows["item_id_list"], lists[share.users - 1])
    plain = Batch((STUDENT,), batch.interaction[:3], users, items)
    assert plain.share(Group(0, 2))[0].rows is None


def test_the_option_is_told_where_no_learner_is_sequential():
    notes = settings_notes(make_config({"model": "RRD", "exchange_at": "users", "teacher_model": "GRU4Rec"}))
    assert [note for note in notes if "no role that learns from the other is sequential" in note]
    notes = settings_notes(make_config({"model": "DML", "exchange_at": "users", "teacher_model": "GRU4Rec"}))
    assert not [note for note in notes if note.startswith("exchange_at")]


@pytest.mark.parametrize("name", ["CD", "RCEKD"])
def test_what_is_prepared_comes_back_without_logits_of_rows(name, scene):
    options = {**EQUATIONS.get(name, (None, {}))[1], "refresh_period": 2}
    (method, batches), (other, _) = (scene("GRU4Rec", "GRU4Rec", model=name, **options) for _ in range(2))
    state = {key: value.clone() for key, value in method.sampling_state().items()}
    assert not any("targets" in key for key in state)
    expected = method.loss(STUDENT, batches[0])["distill"]
    other.loss(STUDENT, batches[0])  # moves the draws
    other.load_sampling_state(state)
    assert other.refresh(1) is False
    assert torch.equal(other.loss(STUDENT, batches[0])["distill"], expected)


def de(method, own: list[Tensor], target: list[Tensor], parts: list[int]) -> Tensor:
    def distance(experts, vectors, restored) -> Tensor:
        return (experts(vectors, restored, 1.0, method.generator) - restored).square().sum(dim=1).mean()

    terms = [distance(method.user_experts, own[0], target[0])]
    for vectors, restored in zip(own[1].split(parts), target[1].split(parts), strict=True):
        terms.append(distance(method.item_experts, vectors, restored) / 2)
    return torch.stack(terms).sum()


def ftd(method, own: list[Tensor], target: list[Tensor], parts: list[int]) -> Tensor:
    cosines = [(unit := F.normalize(torch.cat(both), dim=1)) @ unit.T for both in (own, target)]
    return (cosines[0] - cosines[1]).square().mean()


def htd(method, own: list[Tensor], target: list[Tensor], parts: list[int]) -> Tensor:
    experts = (method.user_experts, method.item_experts)
    found = [(one.selection.T @ vectors.T).T + one.selection_bias for one, vectors in zip(experts, target, strict=True)]
    groups = [found[0].argmax(dim=1), found[1].argmax(dim=1) + 4]
    restored = [one(*both, 1.0, method.generator) for one, *both in zip(experts, own, target, strict=True)]
    restored = (torch.cat(restored) - torch.cat(target)).square().sum(dim=1).mean()
    topology = hierarchical_topology(torch.cat(own), torch.cat(target), torch.cat(groups))
    return 0.7 * topology + 0.3 * restored


@pytest.mark.parametrize("at", ["rows", "users"])
@pytest.mark.parametrize(
    ("name", "equation", "options"),
    [("DE", de, {"experts": 4}), ("FTD", ftd, {}), ("HTD", htd, {"experts": 4, "topology_share": 0.7})],
)
def test_the_vector_of_a_user_is_that_of_the_rows_history(name, equation, options, at, scene):
    method, batches = scene("GRU4Rec", "GRU4Rec", model=name, exchange_at=at, **options)
    batch, state = batches[0], method.generator.get_state()
    parts = method.loss(STUDENT, batch)
    method.generator.set_state(state)
    positives, negatives = method.items_of(batch.users, batch)
    items = torch.cat([positives, negatives]) if name == "DE" else torch.cat([positives, negatives]).unique()
    lists = batch.interaction
    if at == "users":
        lists = method.roles[STUDENT].model.sequences.of_users(batch.users.unique())
    own, target = (
        [model(lists["item_id_list"], lists["item_length"]), model.item_embedding.weight[items]]
        for model in (method.roles[STUDENT].model, method.roles[TEACHER].model)
    )
    term = equation(method, own, [one.detach() for one in target], [len(positives), len(negatives)])
    assert torch.allclose(parts["distill"], method.weight * term, rtol=1e-4)
    sum(parts.values()).backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in method.roles[TEACHER].model.parameters())
    assert method.roles[STUDENT].model.gru_layers.weight_ih_l0.grad.any()


@pytest.mark.parametrize("name", ["DE", "HTD"])
def test_vectors_of_rows_learn_those_of_a_general_teachers_users(name, scene):
    method, batches = scene("BPR", "GRU4Rec", model=name)
    batch = next(batch for batch in batches if STUDENT in batch.roles)
    units = method.units(STUDENT, batch.users, batch, distinct=True)
    own, target = method.vectors(units, batch.positives)
    assert torch.equal(target[0], method.roles[TEACHER].model.user_embedding.weight[batch.users])
    assert len(own[0]) == len(batch.users)
    assert torch.isfinite(method.loss(STUDENT, batch)["distill"])
