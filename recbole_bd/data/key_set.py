"""A set of pairs of user and item, in which many pairs are looked up at once."""

import numpy as np

_ODD = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hashing: the upper bits of the product depend on the whole key


class KeySet:
    """Keys `user * n_items + item`, looked up by a Bloom filter with one hash and by binary search.

    Args:
        keys: int64 [n] in ascending order, distinct and not negative.
    """

    def __init__(self, keys: np.ndarray):
        self._keys = keys
        # Most keys that are looked up are not in the set and need no binary search. One entry in 16 to 32 is set.
        self._bits = int(16 * max(len(keys), 1)).bit_length()
        self._marked = np.zeros(2**self._bits, dtype=bool)
        self._marked[self._hashes(keys)] = True

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Mark the keys, int64 [m], that are in the set, bool [m]."""
        found = self._marked[self._hashes(keys)]
        marked = np.flatnonzero(found)
        places = np.searchsorted(self._keys, keys[marked])
        if len(marked):
            found[marked] = self._keys[np.minimum(places, len(self._keys) - 1)] == keys[marked]
        return found

    def _hashes(self, keys: np.ndarray) -> np.ndarray:
        return (keys.astype(np.uint64) * _ODD) >> np.uint64(64 - self._bits)
