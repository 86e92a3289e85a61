"""Look-ups in a set of pairs, against NumPy's."""

import numpy as np
import pytest

from recbole_bd.data.key_set import KeySet


@pytest.mark.parametrize("size", [0, 1, 7, 3000])
def test_membership_is_numpys(size):
    generator = np.random.default_rng(size)
    keys = np.unique(generator.integers(0, 2**40, size))
    asked = np.concatenate([keys, keys + 1, generator.integers(0, 2**40, 500), [0, 2**62]])
    assert np.array_equal(KeySet(keys).has(asked), np.isin(asked, keys))
    assert KeySet(keys).has(asked[:0]).tolist() == []
