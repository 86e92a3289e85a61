"""The global sources of chance, taken and put back."""

import random

import numpy as np
import pytest
import torch

from recbole_bd.system.random_state import random_state, seeded, set_random_state


def draws() -> list[float]:
    """Numbers of every source; Python's and NumPy's normal draws keep a second one for later."""
    return [random.random(), random.gauss(0, 1), np.random.random(), np.random.standard_normal(), float(torch.rand(1))]


def test_the_same_batches_after_a_place():
    """RecBole's own global sources of chance are part of a place."""
    draws()  # a second normal draw is kept now
    state = random_state()
    first = draws()
    set_random_state(state)
    assert draws() == first
    assert draws() != first


@pytest.fixture
def cards(monkeypatch):
    """Two cards that torch has begun to use: the states they have."""
    held = {"states": [torch.tensor([1]), torch.tensor([2])]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(held["states"]))
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: held.update(states=states))
    return held


def test_cards_in_use_have_a_state_too(cards):
    state = random_state()
    cards["states"] = []
    set_random_state(state)
    assert [int(one) for one in cards["states"]] == [1, 2]


@pytest.mark.parametrize("lacking", ["is_available", "is_initialized"])
def test_cards_that_are_not_used_have_none(lacking, cards, monkeypatch):
    monkeypatch.setattr(torch.cuda, lacking, lambda: False)
    assert list(random_state()) == ["python", "numpy", "torch"]


def test_a_state_of_cards_is_read_where_there_are_none(cards, monkeypatch):
    state = random_state()
    first = draws()
    cards["states"] = "untouched"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    set_random_state(state)
    assert draws() == first
    assert cards["states"] == "untouched"


def test_a_scope_with_a_seed_leaves_no_trace():
    before = random_state()
    with seeded(1, 2):
        first = draws()
    expected = draws()
    set_random_state(before)
    assert draws() == expected
    with seeded(1, 2):
        assert draws() == first
    with seeded(1, 3):
        assert draws() != first
