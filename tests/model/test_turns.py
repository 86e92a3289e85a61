"""Turns of learners: when each begins and ends."""

import pytest

from recbole_bd.model.turns import Turns


def taken(turns: Turns, resting_from: dict[str, int], epochs: int) -> list[str | None]:
    found = []
    for epoch in range(epochs):
        turns.take(epoch, [name for name, first in resting_from.items() if epoch >= first])
        found.append(turns.now)
    return found


@pytest.mark.parametrize(
    ("epochs", "resting_from", "firsts"),
    [(6, {}, 3), (7, {}, 4), (2, {}, 1), (6, {"a": 1}, 1), (6, {"a": 5}, 3), (6, {"a": 2, "b": 4}, 2)],
)
def test_a_turn_is_half_of_the_epochs_and_ends_where_its_role_rests(epochs, resting_from, firsts):
    turns = Turns(("a", "b"), epochs)
    assert taken(turns, resting_from, epochs) == ["a"] * firsts + ["b"] * (epochs - firsts)


def test_who_learns_and_what_is_over():
    together = Turns()
    together.take(3, [])
    assert together.learns("a")
    assert (together.now, together.over, together.are_to_come) == (None, (), False)
    turns = Turns(("a", "b"), 4)
    assert (turns.now, turns.over, turns.are_to_come) == (None, (), False)
    turns.take(1, [])
    assert (turns.learns("a"), turns.learns("b"), turns.over, turns.are_to_come) == (True, False, (), True)
    turns.take(2, [])
    assert (turns.learns("a"), turns.learns("b"), turns.over, turns.are_to_come) == (False, True, ("a",), False)


def test_a_turn_does_not_come_back():
    turns = Turns(("a", "b"), 10)
    turns.take(1, ["a"])
    turns.take(2, [])
    assert turns.now == "b"


@pytest.mark.parametrize(("epochs", "last"), [(6, 2), (7, 3), (2, 0)])
def test_the_last_epoch_of_a_turn(epochs, last):
    turns = Turns(("a", "b"), epochs)
    assert not turns.end_after(last)  # before the first epoch
    for epoch in range(epochs):
        turns.take(epoch, [])
        assert turns.end_after(epoch) == (epoch == last)
    assert not Turns().end_after(0)
