"""Properties of data and split that change what metrics mean: unread labels, untrained ids, pairs in several parts."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from recbole_bd.data.split import Split

_PARTS = {"train": "training", "valid": "validation", "test": "test"}


class SplitWarning(NamedTuple):
    """One property of one part.

    Attributes:
        kind: `labels`, `untrained`, `repeated`, or `overlap` where the parts come from files.
        part: valid or test; train for `labels`.
        message: one line with counts.
    """

    kind: str
    part: str
    message: str


def split_warnings(split: Split) -> list[SplitWarning]:
    """Count what changes the meaning of metrics.

    Args:
        split: the data.

    Returns:
        A warning for each part and kind that occurs:

        - `labels`: the file has labels that are not loaded, so that interactions of label 0 count as positives.
        - `untrained`: users and items of the part without a training interaction.
        - `repeated` and `overlap`: interactions whose user has one with the same item in an earlier part; none if
          `repeatable` is set, which makes repeats the task.
    """
    found = []
    if split.dataset.has_unread_labels:
        label = split.dataset.config["LABEL_FIELD"]
        message = f"the column {label} is not loaded: interactions of label 0 count as positives; add it to load_col"
        found.append(SplitWarning("labels", "train", message))
    keys = {part: _keys(split, part) for part in _PARTS}
    for number, part in enumerate(_PARTS):
        if part == "train":
            continue
        found += _untrained(split, part)
        if not split.repeatable:
            own = pd.Series(keys[part])  # pandas hashes, where NumPy sorts
            repeats = {earlier: int(own.isin(keys[earlier]).sum()) for earlier in list(_PARTS)[:number]}
            found += _repeated(split, part, repeats)
    return found


def _keys(split: Split, part: str) -> np.ndarray:
    """A number for each user and item of a part's interactions."""
    users, items = (ids.numpy().astype(np.int64) for ids in split.pairs(part))
    return users * split.n_items + items


def _untrained(split: Split, part: str) -> list[SplitWarning]:
    users, items = (~trained[ids.numpy()] for trained, ids in zip(split.trained, split.pairs(part), strict=True))
    if not (users | items).any():
        return []
    counts = [
        f"{count:,} {name if count == 1 else f'{name}s'}"
        for name, ids, lacking in zip(("user", "item"), split.pairs(part), (users, items), strict=True)
        if (count := len(np.unique(ids.numpy()[lacking])))
    ]
    verb = "has" if len(counts) == 1 and counts[0].startswith("1 ") else "have"
    message = (
        f"{' and '.join(counts)} of the {_PARTS[part]} part {verb} no training interaction: untrained vectors score "
        f"{(users | items).sum():,} of its {len(users):,} interactions"
    )
    return [SplitWarning("untrained", part, message)]


def _repeated(split: Split, part: str, repeats: dict[str, int]) -> list[SplitWarning]:
    """The warning for a part, from the number of its interactions that each earlier part contains."""
    counts = [f"{count:,} repeat a {_PARTS[earlier]} interaction" for earlier, count in repeats.items() if count]
    if not counts:
        return []
    kind, remedy = "repeated", "rm_dup_inter=last keeps one of each"
    if split.dataset.config["benchmark_filename"]:
        kind, remedy = "overlap", "remove them from one of the files"
    size = len(split.pairs(part)[0])
    message = f"of {size:,} interactions of the {_PARTS[part]} part, {' and '.join(counts)} of their user; {remedy}"
    return [SplitWarning(kind, part, message)]
