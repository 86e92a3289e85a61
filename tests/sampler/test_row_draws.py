"""Draws for rows: their frequencies by the equations, and what is never drawn."""

import pytest
import torch

from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.row_draws import RowDraws
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import follows, generator

N_ITEMS, COUNT = 25, 6000
USERS, TARGETS = torch.tensor([1, 2, 1]), torch.tensor([3, 5, 4])  # user 1 has two rows
SEEN = SeenItems(torch.tensor([1, 1, 1, 2, 2]), torch.tensor([3, 4, 9, 5, 6]), 3, N_ITEMS)


def drawn(direction: Direction, takes_history: bool, learner: str = "student") -> tuple[torch.Tensor, dict]:
    scores = {
        name: torch.randn(3, N_ITEMS, generator=generator(seed)) for name, seed in (("teacher", 1), ("student", 2))
    }
    guide = "teacher" if learner == "student" else "student"
    draws = RowDraws(SEEN, "exact", takes_history, generator(3))
    functions = {name: lambda part, table=table: table[part] for name, table in scores.items()}
    return draws.draw(learner, guide, direction, functions, USERS, TARGETS, COUNT), scores


def candidates(row: int, takes_history: bool) -> list[int]:
    seen = {1: {3, 4, 9}, 2: {5, 6}}[int(USERS[row])]
    excluded = {int(TARGETS[row])} if takes_history else seen
    return [item for item in range(1, N_ITEMS) if item not in excluded]


def ranks(scores: torch.Tensor, items: list[int]) -> torch.Tensor:
    """Ranks by counting: 1 and the number of candidates with a higher score."""
    own = scores[items]
    return 1 + (own.unsqueeze(0) > own.unsqueeze(1)).sum(dim=1).double()


WEIGHTS = {
    "own_top": lambda own, other: torch.exp(-own / 4.0),
    "top": lambda own, other: torch.exp(-other / 4.0),
    "uniform": lambda own, other: torch.ones_like(own),
    "tanh": lambda own, other: torch.tanh(((own - other) * 0.1).clamp(min=0)),
    "exp": lambda own, other: (other / own) ** 1.5,  # logarithmic ranks in the order of the public code
}
DIRECTIONS = {
    "own_top": Direction("own_top", top_temperature=4.0),
    "top": Direction("top", top_temperature=4.0),
    "uniform": Direction("uniform"),
    "tanh": Direction(shape="tanh", eps=0.1),
    "exp": Direction(shape="exp", eps=1.5, rank_scale="logarithmic", rank_order="reference"),
}


@pytest.mark.parametrize("takes_history", [False, True])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_each_row_is_drawn_from_by_its_own_ranks(name, takes_history):
    for learner in ("student", "teacher"):
        found, scores = drawn(DIRECTIONS[name], takes_history, learner)
        other = "teacher" if learner == "student" else "student"
        for row in range(3):
            items = candidates(row, takes_history)
            weights = WEIGHTS[name](*(ranks(scores[role][row], items) for role in (learner, other)))
            counts = torch.bincount(found[row], minlength=N_ITEMS)
            assert counts.sum() == counts[items].sum() == COUNT  # no target, no padding, no history that is excluded
            assert follows(counts[items], COUNT * weights / weights.sum())


def test_a_history_is_drawn_only_if_allowed():
    assert not {4, 9} & set(drawn(Direction("uniform"), False)[0][0].tolist())
    with_history = set(drawn(Direction("uniform"), True)[0][0].tolist())
    assert {4, 9} <= with_history
    assert 3 not in with_history


def test_roles_that_do_not_rank_are_not_scored():
    def refused(part):
        raise AssertionError("scored")

    draws = RowDraws(SEEN, "binned", False, generator(3))
    functions = {"teacher": refused, "student": lambda part: torch.randn(3, N_ITEMS)[part]}
    draws.draw("student", "teacher", Direction("own_top"), functions, USERS, TARGETS, 5)
