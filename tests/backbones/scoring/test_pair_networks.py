"""Pair networks in chunks."""

import pytest

from tests.helpers.backbones import (
    batch,
    close,
)


@pytest.mark.parametrize("name", ["NeuMF", "NNCF", "ConvNCF", "NAIS"])
def test_pair_networks_score_the_same_in_small_chunks(build, monkeypatch, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        expected = role.pair_logits(users, items), role.all_logits(users)
        monkeypatch.setattr(role._scores, "pairs_at_once", 25)
        assert close(role.pair_logits(users, items), expected[0], 1e-5)
        assert close(role.all_logits(users), expected[1], 1e-5)
