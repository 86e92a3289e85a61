"""Where a sequential learner exchanges: after the history of each row, or after all training items of its user."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.batches import batch_stream
from recbole_bd.model import METHODS
from recbole_bd.runs.prepare import build_distiller, prepare
from tests.helpers.histories import CHAINS, write_chains
from tests.helpers.settings import make_config

SMALL = {
    "backbones": {
        "GRU4Rec": {
            "teacher": {"embedding_size": 8, "hidden_size": 8, "dropout_prob": 0.0},
            "student": {"embedding_size": 4, "hidden_size": 4, "dropout_prob": 0.0},
        },
        "CORE": {"teacher": {"embedding_size": 8, "inner_size": 8}, "student": {"embedding_size": 4, "inner_size": 4}},
    },
    "MAX_ITEM_LIST_LENGTH": 6, "train_batch_size": 32, "guide_state": "current", "samples_per_positive": 3,
    "refresh_period": 1, "learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture
def scene(tmp_path):
    """The method, a batch, and the learners' histories in it, made by `of(teacher, student)`."""
    folder = write_chains(tmp_path)

    def of(teacher: str, student: str, **more):
        settings = {**CHAINS, **SMALL, "data_path": str(folder), "teacher_model": teacher, "student_model": student}
        config = make_config({**settings, **more}, seed=5)
        split, roles = prepare(config)
        method = build_distiller(config, split, roles)
        method.refresh(0)
        stream = batch_stream({name: role.config for name, role in roles.items()}, split, lambda name: None)
        return method, list(stream)

    return of


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
    users, items, _ = method.drawn.draw(method.sampler, STUDENT, batch, False)
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
    users, items, _ = method.drawn.draw(method.sampler, STUDENT, batch, False)
    target = method.roles[TEACHER].target_logits(users, items, learning=True)
    with method.roles[STUDENT].scores.in_rows(batch.interaction):
        logits = method.roles[STUDENT].pair_logits(users, items)
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
            users, items, _ = method.drawn.draw(method.sampler, role, batch, False)
            assert (items > 0).all()
            keys = set((method.seen.of(torch.arange(method.n_users))[0] * method.n_items).tolist())
            assert keys  # users have training items
            seen = {(int(u), int(i)) for u, i in zip(*method.seen.of(torch.arange(method.n_users)), strict=True)}
            assert not {(int(u), int(i)) for u, row in zip(users, items, strict=True) for i in row} & seen


def test_the_option_is_told_where_no_model_is_sequential():
    from recbole_bd.config.unread_keys import settings_notes

    notes = settings_notes(make_config({"exchange_at": "users"}))
    assert [note for note in notes if note.startswith("exchange_at=")]
    assert METHODS["BD"].shares_batches
