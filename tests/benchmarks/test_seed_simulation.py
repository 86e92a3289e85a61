"""The levels of both tests where seeds decide part of the quality."""

import importlib

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("seed_simulation")


def test_seed_effects_mislead_the_test_over_users_and_not_the_crossed_one(simulation, capsys):
    over_users, crossed = simulation.rejected(users=60, seeds=5, seed_effect=2, repeats=600)
    with capsys.disabled():
        print(f"\nequal methods, seed effects: over users {over_users:.1%}, crossed {crossed:.1%} rejected at 5 %")
    assert over_users > 0.25
    assert 0.02 < crossed < 0.09


def test_without_seed_effects_both_keep_their_level(simulation):
    over_users, crossed = simulation.rejected(users=60, seeds=5, seed_effect=0, repeats=600)
    assert 0.02 < over_users < 0.09
    assert 0.01 < crossed < 0.07
