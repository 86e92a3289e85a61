"""BD with ranks after the history of each row: what is drawn, what it costs, and that it can be resumed."""

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.histories import scenes
from tests.helpers.references import follows
from tests.helpers.settings import make_config

ROWS = {"ranks_at": "rows"}


@pytest.fixture
def scene(tmp_path):
    return scenes(tmp_path)


@pytest.mark.parametrize("history", ["excluded", "allowed"])
def test_items_are_drawn_by_the_ranks_after_the_rows_history(history, scene):
    method, batches = scene("GRU4Rec", "GRU4Rec", **ROWS, samples_per_positive=30, exchange_history=history)
    assert method.sampler.pools == {}  # nothing is drawn before a step
    batch = batches[0]
    found = {
        role: torch.cat([method._drawn(role, batch).items for _ in range(60)], dim=1) for role in (STUDENT, TEACHER)
    }
    lists, lengths = batch.interaction["item_id_list"], batch.interaction["item_length"]
    scores = {}
    for name, role in method.roles.items():
        scores[name] = (role.model(lists, lengths) @ role.model.item_embedding.weight.T).detach()
    everything, n_items = torch.arange(method.n_items), method.n_items
    for row in range(6):
        user, target = batch.users[row], batch.positives[row]
        out = torch.zeros(n_items, dtype=torch.bool)
        out[0] = out[target] = True
        if history == "excluded":
            out[method.seen.of(user.view(1))[1]] = True
        kept = everything[~out]
        rank = {}
        for name, table in scores.items():
            own = table[row, kept]
            rank[name] = 1 + (own.unsqueeze(0) > own.unsqueeze(1)).sum(dim=1).double()
        weights = {STUDENT: torch.exp(-rank[STUDENT] / 50), TEACHER: (rank[STUDENT] / rank[TEACHER]) ** 1.5}
        for role, weight in weights.items():
            counts = torch.bincount(found[role][row], minlength=n_items)
            assert counts[out].sum() == 0
            assert follows(counts[kept], counts.sum() * weight / weight.sum())


def test_the_step_makes_one_pass_of_each_kind(scene, monkeypatch):
    method, batches = scene("GRU4Rec", "GRU4Rec", **ROWS)
    seen = []
    for name, role in method.roles.items():
        role.model.train()
        forward = role.model.forward

        def counted(*histories, name=name, model=role.model, forward=forward):
            seen.append((name, model.training))
            return forward(*histories)

        monkeypatch.setattr(role.model, "forward", counted, raising=False)
    method.loss(TEACHER, batches[0])
    assert sorted(seen) == [(STUDENT, False), (TEACHER, True)]  # own loss, ranks, exchange and target share them


@pytest.mark.parametrize("pair", [("GRU4Rec", "GRU4Rec"), ("BPR", "GRU4Rec"), ("CORE", "GRU4Rec"), ("GRU4Rec", "CORE")])
def test_gradient_reaches_the_learner_alone(pair, scene):
    method, batches = scene(*pair, **ROWS)
    for role in (TEACHER, STUDENT):
        batch = next(batch for batch in batches if role in batch.roles)
        for other in method.roles.values():
            other.model.zero_grad()
        method.loss(role, batch)["distill"].backward()
        assert any(weight.grad is not None and weight.grad.any() for weight in method.roles[role].model.parameters())
        others = method.other(role).model.parameters()
        assert all(weight.grad is None or not weight.grad.any() for weight in others)


def test_a_general_learner_keeps_its_items_of_users(scene):
    method, _ = scene("BPR", "GRU4Rec", **ROWS)
    assert method.sampler.pools.keys() == {TEACHER}
    assert method.refresh(1)
    assert not method.shares_batches


def test_draws_go_on_where_they_stopped(scene):
    (method, batches), (other, _) = (scene("GRU4Rec", "GRU4Rec", **ROWS) for _ in range(2))
    method.loss(STUDENT, batches[0])
    state = method.sampling_state()
    state["generator"] = state["generator"].clone()
    expected = [method.loss(role, batches[1])["distill"] for role in (STUDENT, TEACHER)]
    other.load_sampling_state(state)
    assert [other.loss(role, batches[1])["distill"] for role in (STUDENT, TEACHER)] == expected
    assert method.refresh(1) is False


@pytest.mark.parametrize("guide", ["shuffled", "untrained", "self", "constant"])
def test_placebos_rank_too(guide, scene):
    more = {"guide": guide, "ranks_of": "learner", "sampling": "rank_discrepancy", "exchange": "pointwise"}
    method, batches = scene("GRU4Rec", "GRU4Rec", **ROWS, **more)
    assert torch.isfinite(method.loss(STUDENT, batches[0])["distill"])


def test_options_that_need_items_before_the_step_are_refused(scene):
    with pytest.raises(ConfigError, match="rank_precision=binned"):
        scene("GRU4Rec", "GRU4Rec", **ROWS, rank_precision="sampled")
    with pytest.raises(ConfigError, match="ranks_at=users"):
        scene("GRU4Rec", "GRU4Rec", **ROWS, pause="switokd")
    scene("GRU4Rec", "GRU4Rec", **ROWS, pause="switokd", directions="teacher_to_student")  # which reads no pause


def test_options_of_refreshes_are_told():
    pair = {"teacher_model": "GRU4Rec", "student_model": "SASRec"}
    given = {**ROWS, "refresh_period": 3, "refresh_users": "rolling"}
    notes = settings_notes(make_config({**pair, **given}))
    assert sum("items are drawn in every step" in note for note in notes) == 2
    assert not [note for note in settings_notes(make_config({**given, "student_model": "SASRec"})) if "refresh" in note]
    notes = settings_notes(make_config({**pair, "exchange_history": "allowed"}))
    assert [note for note in notes if note.startswith("exchange_history=") and "ranks_at" in note]
    notes = settings_notes(make_config({**pair, **ROWS, "exchange_at": "users", "exchange_history": "allowed"}))
    assert {note.split("=")[0] for note in notes} >= {"ranks_at", "exchange_history"}
    notes = settings_notes(make_config(ROWS))
    assert [note for note in notes if note.startswith("ranks_at=")]


def test_the_objective_says_where_ranks_are_taken():
    config = make_config({**ROWS, "teacher_model": "BPR", "student_model": "SASRec"})
    terms = {role: METHODS["BD"].distillation_terms(config, role)[0] for role in (TEACHER, STUDENT)}
    assert {role: "ranks after each row's history" in term for role, term in terms.items()} == {
        TEACHER: False, STUDENT: True,
    }  # fmt: skip
