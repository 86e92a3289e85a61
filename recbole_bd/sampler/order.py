"""Order of the columns of each row by their scores: one sort of integers that hold a score and its column.

On a CPU, NumPy sorts such integers in a fraction of the time in which torch sorts scores and says where they were.
"""

import sys

import numpy as np
import torch
from torch import Tensor

_IS_LITTLE = sys.byteorder == "little"  # the upper half of an integer comes second
_COLUMN = 2**32 - 1  # the bits of a key that hold the column
_MAGNITUDE = 2**31 - 1  # the bits of a float32 beside its sign
_LAST = 0x7F800000  # score part of the key of -inf
# Places without equal scores, places with two equal ones at most, and the least run of equal scores not allowed below.
_FIRST, _HEAD, _LONGEST_RUN = 64, 1024, 64


def order_keys(scores: Tensor, length: int) -> Tensor:
    """Sort the columns of each row, the best first.

    The upper half of a key falls with the score, the lower half is the column. So equal scores come in ascending order
    of their columns.

    Args:
        scores: float32 [C, n]; no NaN and no -0.0.
        length: columns per row, n at most.

    Returns:
        int64 [C, length], ascending.
    """
    bits = scores.contiguous().view(torch.int32)
    # The bits of negative numbers rise as the numbers fall, those of other numbers must be turned.
    turned = (bits >> 31).bitwise_and_(_MAGNITUDE).bitwise_not_().bitwise_xor_(bits)
    columns = torch.arange(scores.shape[1], dtype=torch.int32, device=scores.device)
    if scores.device.type != "cpu":
        return ((turned.long() << 32) | columns).sort(dim=1).values[:, :length]
    keys = np.empty(scores.shape, dtype=np.int64)
    halves = keys.view(np.int32).reshape(*keys.shape, 2)
    upper = int(_IS_LITTLE)
    halves[..., upper], halves[..., 1 - upper] = turned.numpy(), columns.numpy()
    if length < keys.shape[1]:
        keys.partition(length - 1, axis=1)
        keys = keys[:, :length]
    keys.sort(axis=1)
    return torch.from_numpy(keys)


def columns_of(keys: Tensor) -> Tensor:
    """Columns that keys hold. int64 of any shape to that shape."""
    return keys & _COLUMN


def is_clear(keys: Tensor) -> Tensor:
    """Whether the order of each row is one of scores, and not of columns.

    Among the first 64 no two scores are equal. Further down a few may be, as chance has it among many numbers: two, and
    after 1,024 positions fewer than 64. Excluded columns, of score -inf, do not count.

    Args:
        keys: result of `order_keys`.

    Returns:
        bool [C].
    """
    halves = keys.view(torch.int32)[:, 1::2] if _IS_LITTLE else keys >> 32
    # A run of 64 holds two neighbours among every 32nd of the scores.
    parts = (halves[:, :_FIRST], 1), (halves[:, :_HEAD], 2), (halves[:, _HEAD :: _LONGEST_RUN // 2], 1)
    clear = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    for part, run in parts:
        later = part[:, run:]
        clear &= ((part[:, : later.shape[1]] != later) | (later == _LAST)).all(dim=1)
    return clear
