"""Training items of each user."""

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd.errors import DataError
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import seen_items


def test_a_user_who_has_seen_everything_is_refused():
    with pytest.raises(DataError, match="1 user"):
        SeenItems(torch.tensor([1, 1, 1, 1, 2]), torch.tensor([1, 2, 3, 3, 1]), 3, 4)


def test_a_random_positive_is_any_training_item_and_no_other():
    seen = seen_items()
    drawn = seen.random_positive(torch.full((4000,), 2), torch.Generator().manual_seed(0))
    own = set(seen.items[int(seen.starts[2]) : int(seen.starts[3])].tolist())
    assert set(drawn.tolist()) == own
    assert stats.chisquare(np.unique(drawn.numpy(), return_counts=True)[1]).pvalue > 1e-4
