"""Embeddings of inner products."""

import pytest
import torch

from tests.helpers.backbones import (
    INNER_PRODUCTS,
    NAMES,
    close,
)


@pytest.mark.parametrize("name", sorted(INNER_PRODUCTS))
def test_embeddings_multiply_to_all_logits(build, name):
    role, _ = build(name)
    with role.scoring():
        users, items = role.embeddings()
        assert users.shape[0] == role.n_users
        assert items.shape[0] == role.n_items
        assert close(users @ items.T, role.all_logits(torch.arange(role.n_users)), 1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - INNER_PRODUCTS))
def test_other_models_have_no_embeddings(build, name):
    assert build(name)[0].embeddings() is None
