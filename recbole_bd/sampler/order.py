"""Order of the columns of each row by their scores: one sort of integers that hold a score and its column.

On a CPU, NumPy sorts such integers in a fraction of the time in which torch sorts scores and says where they were.
Where places far from the top need not be exact, a score is one of many levels: half the integer, half the time.
"""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_UPPER = int(sys.byteorder == "little")  # place of the upper half of an integer
_SCORES_AT_ONCE = 2**17
_COLUMN = 2**32 - 1  # the bits of a key that hold the column
_MAGNITUDE = 2**31 - 1  # the bits of a float32 beside its sign
_LAST = 0x7F800000  # score part of the key of -inf
# Places without equal scores, places with two equal ones at most, and the least run of equal scores not allowed below.
_FIRST, _HEAD, _LONGEST_RUN = 64, 1024, 64
# Bits of a column in an integer of half the length, at most: there are then two levels for each column.
_COLUMN_BITS = 15
# Levels of so many bits are the last bits of a float32 from 2 ** 23 on.
_EXACT = 22
_FIRST_LEVEL, _BITS_OF_FIRST = 2.0**23, 0x4B000000

# Least and greatest score of each row, float32 [C, 1] each, or numbers below and above them.
Bounds = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Order:
    """The first columns of each row, the best first.

    Attributes:
        keys: int32 [C, L]; the bits of `mask` are the column.
        clear: bool [C], see `is_clear`.
        mask: bits of a key that hold the column.
    """

    keys: Tensor
    clear: Tensor
    mask: int = -1

    @property
    def columns(self) -> Tensor:
        """All columns, int32 [C, L]."""
        return self.keys & self.mask

    def first(self, length: int) -> "Order":
        """The first columns of these; rows that are not clear further down are not clear here either."""
        whole = length == self.keys.shape[1]
        return self if whole else Order(self.keys[:, :length].contiguous(), self.clear, self.mask)

    def at(self, flat_indices: Tensor) -> Tensor:
        """Columns at some flat indices, `row * L + position`. int64 of any shape to int64 of that shape."""
        return self.keys.take(flat_indices).bitwise_and_(self.mask).long()


def order_of(scores: Tensor, length: int, bounds: Bounds | None = None) -> Order:
    """Sort the columns of each row, the best first.

    Args:
        scores: float32 [C, n]; no NaN and no -0.0; -inf for columns that come last.
        length: columns per row, n at most.
        bounds: of each row's other scores; takes half the time. If all n columns are asked for, the first 1,024 are
            then in order. Further down, columns of nearly equal scores may be in any order, 64 of them at most. None:
            all are in order.
    """
    if bounds is not None and scores.device.type == "cpu" and scores.shape[1] <= 2**_COLUMN_BITS:
        return _order_by_levels(scores, length, bounds)
    keys = order_keys(scores, length)
    return Order(columns_of(keys).to(torch.int32), is_clear(keys))


def _order_by_levels(scores: Tensor, length: int, bounds: Bounds) -> Order:
    """Sort levels of the scores with their columns, and the head once more by the scores themselves.

    level = round((greatest - score) * scale)

    The head has 1,024 columns if all are asked for, else `length`. Rows whose scores share levels too often are sorted
    by the scores.
    """
    n_columns = scores.shape[1]
    bits = (n_columns - 1).bit_length()
    last = 2 ** min(31 - bits, _EXACT) - 1  # the level of -inf
    lowest, greatest = bounds
    scale = (last - 1) / (greatest - lowest)
    is_spread = torch.isfinite(scale) & (scale > 0)  # False where all scores are equal or one is infinite
    scale[~is_spread] = 1.0
    # Columns behind the head that share its last level belong to it as well, so it is sorted with some more.
    is_whole = length == n_columns
    head = min((_HEAD if is_whole else length) + _LONGEST_RUN, n_columns)
    kept = n_columns if is_whole else head
    keys = torch.empty(len(scores), kept, dtype=torch.int32)
    at_once = max(1, _SCORES_AT_ONCE // n_columns)
    levels, whole = torch.empty(at_once, n_columns), torch.empty(at_once, n_columns, dtype=torch.int32)
    # The last bits of the float32 number 2 ** 23 + level are the level, so that no number is converted.
    numbers = (torch.arange(n_columns) - (_BITS_OF_FIRST << bits)).to(torch.int32)  # the lower half of each
    parts = (table.split(at_once) for table in (scores, greatest * scale + _FIRST_LEVEL, -scale, keys))
    for some, begin, factor, own in zip(*parts, strict=True):
        room = torch.addcmul(begin, some, factor, out=levels[: len(some)])
        room.clamp_(_FIRST_LEVEL, _FIRST_LEVEL + last)
        found = own if is_whole else whole[: len(some)]
        torch.add(numbers, room.view(torch.int32), alpha=2**bits, out=found)
        if is_whole:
            found.numpy().sort(axis=1)
        else:
            found.numpy().partition(head - 1, axis=1)
            own.copy_(found[:, :kept])
    far = keys[:, _HEAD - 1 :: _LONGEST_RUN // 2] if is_whole else keys[:, length - 1 :: _LONGEST_RUN]
    far = far >> bits
    mask = 2**bits - 1
    first = (keys[:, :head] & mask).long()
    begins = torch.arange(0, scores.numel(), n_columns).unsqueeze(1)
    exact = order_keys(scores.take(first + begins), head)  # `take` costs half of what `gather` does
    keys[:, :head] = first.gather(1, columns_of(exact))
    crowded = ~is_spread.squeeze(1) | ((far[:, 1:] == far[:, :-1]) & (far[:, 1:] != last)).any(dim=1)
    keys, clear = keys[:, :length], is_clear(exact[:, :length])
    if crowded.any():
        again = order_keys(scores[crowded], length)
        keys[crowded], clear[crowded] = columns_of(again).to(torch.int32), is_clear(again)
    return Order(keys.contiguous(), clear, mask)


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
    if scores.device.type != "cpu":
        best_first, places = scores.sort(dim=1, descending=True, stable=True)  # half the passes of 64 bits
        return _keys_of(best_first[:, :length].contiguous(), places[:, :length])
    keys = np.empty(scores.shape, dtype=np.int64)
    # Few rows at a time stay in the cache.
    at_once = max(1, _SCORES_AT_ONCE // scores.shape[1])
    bits, columns = scores.contiguous().numpy().view(np.int32), np.arange(scores.shape[1], dtype=np.int32)
    turned = np.empty((at_once, scores.shape[1]), dtype=np.int32)
    for start in range(0, len(keys), at_once):
        some, own = bits[start : start + at_once], keys[start : start + at_once]
        room = turned[: len(some)]
        np.right_shift(some, 31, out=room)
        np.bitwise_and(room, _MAGNITUDE, out=room)
        np.invert(room, out=room)
        halves = own.view(np.int32)
        np.bitwise_xor(some, room, out=halves[:, _UPPER::2])
        halves[:, 1 - _UPPER :: 2] = columns
        if length < own.shape[1]:
            own.partition(length - 1, axis=1)
        own[:, :length].sort(axis=1)
    return torch.from_numpy(keys)[:, :length]


def sort_rows(numbers: Tensor) -> Tensor:
    """Sort each row in ascending order; on a CPU by NumPy, in a tenth of torch's time. [n, K] to [n, K]."""
    if numbers.device.type != "cpu":
        return numbers.sort(dim=1).values
    return torch.from_numpy(np.sort(numbers.numpy(), axis=1))


def _keys_of(scores: Tensor, columns: Tensor) -> Tensor:
    """Keys of scores and their columns. float32 [C, n] and int64 [C, n] to int64 [C, n]."""
    bits = scores.view(torch.int32)
    # The bits of negative numbers rise as the numbers fall, those of other numbers must be turned.
    turned = bits ^ ((bits >> 31) & _MAGNITUDE).bitwise_not_()
    return (turned.long() << 32) | columns


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
    halves = keys.view(torch.int32)[:, _UPPER::2].contiguous()
    # A run of 64 holds two neighbours among every 32nd of the scores.
    parts = (halves[:, :_FIRST], 1), (halves[:, :_HEAD], 2), (halves[:, _HEAD :: _LONGEST_RUN // 2], 1)
    clear = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    for part, run in parts:
        later = part[:, run:]
        clear &= ((part[:, : later.shape[1]] != later) | (later == _LAST)).all(dim=1)
    return clear
