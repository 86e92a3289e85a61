"""One process alone: its share of everything, and how it joins others."""

import pytest
import torch
import torch.distributed as processes

from recbole_bd.errors import PeerError
from recbole_bd.system import distributed
from recbole_bd.system.distributed import Group, group, joined, per_process_rng, with_gradient_all_reduce


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 6, 7, 100])
def test_shares_make_the_whole(size, rows):
    shares = [Group(rank, size).share(rows) for rank in range(size)]
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    if rows < size:
        assert all(part == slice(0, rows) for part, _ in shares)
    else:
        assert [row for part, _ in shares for row in range(part.start, part.stop)] == list(range(rows))


def test_parts_differ_by_one_at_most():
    parts = [Group(rank, 3).part(11) for rank in range(3)]
    assert [(part.start, part.stop) for part in parts] == [(0, 3), (3, 7), (7, 11)]


def test_a_process_alone_is_the_whole_group():
    own, numbers = group(), torch.arange(3.0)
    assert (own.rank, own.size, own.is_first) == (0, 1, True)
    assert own.all_reduce(numbers) is numbers
    assert numbers.tolist() == [0, 1, 2]
    assert (own.all_max(7), own.all_gather("a"), own.broadcast(lambda: "b")) == (7, ["a"], "b")
    assert not Group(1, 2).is_first


def test_a_process_alone_leaves_loss_and_chance_as_they_are():
    loss = torch.ones((), requires_grad=True)
    assert with_gradient_all_reduce(loss, []) is loss
    torch.manual_seed(4)
    expected = torch.rand(2).tolist()
    torch.manual_seed(4)
    with per_process_rng():
        assert torch.rand(1).tolist() == expected[:1]
    assert torch.rand(1).tolist() == expected[1:]


def test_processes_draw_their_own_numbers_and_meet_again(monkeypatch):
    inside, after = [], []
    for rank in range(2):
        monkeypatch.setattr(distributed, "group", lambda rank=rank: Group(rank, 2))
        torch.manual_seed(4)
        with per_process_rng():
            inside.append(float(torch.rand(1)))
        after.append(float(torch.rand(1)))
    assert inside[0] != inside[1]
    assert after[0] == after[1]


@pytest.fixture
def launched(monkeypatch):
    """The environment of the second of two processes on a machine; what is asked of torch, in order."""
    asked = []
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "end_with_parent", lambda: asked.append("end with the parent"))
    monkeypatch.setattr(processes, "init_process_group", lambda backend, timeout: asked.append(backend))
    monkeypatch.setattr(processes, "destroy_process_group", lambda: asked.append("left"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: asked.append(f"card {number}"))
    return asked


@pytest.mark.parametrize(
    ("cards", "has_nccl", "expected"),
    [(0, True, ["gloo"]), (1, True, ["gloo"]), (2, False, ["gloo"]), (2, True, ["card 1", "cpu:gloo,cuda:nccl"])],
)
def test_a_process_takes_its_own_card_where_each_can_have_one(cards, has_nccl, expected, launched, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(processes, "is_nccl_available", lambda: has_nccl)
    with joined():
        assert launched == ["end with the parent", *expected]
    assert launched[-1] == "left"


def test_others_that_do_not_come_are_one_line(launched, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Timed out\nat a place in torch")

    monkeypatch.setattr(processes, "init_process_group", fail)
    with pytest.raises(PeerError) as error, joined():
        pass
    assert str(error.value) == "process 1 of this run has lost the other processes: one has ended; see its error above"
    assert launched == ["end with the parent"]


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_a_process_that_was_started_alone_joins_none(environment, launched, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with joined() as own:
        assert (own.rank, own.size) == (0, 1)
    assert launched == []
