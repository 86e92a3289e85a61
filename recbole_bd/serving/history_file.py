"""Histories that a user wrote into a file: sequences that the data does not have."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_bd.data.protocol import UserItems
from recbole_bd.data.sequences import WHOLE, Sequences
from recbole_bd.data.split import Split
from recbole_bd.errors import DataError
from recbole_bd.serving.id_file import read_lines, shortened
from recbole_bd.serving.recommender import inner_ids


@dataclass(frozen=True)
class GivenHistories:
    """Histories of a file, in its order.

    Attributes:
        names: original ids of their users, who need not be in the data.
        users: inner ids of the users, int64 [n]; 0 for those that are not in the data.
        sequences: the items of each history up to the point `all`; those that the data does not have are left out.
        unknown: original ids of these items.
    """

    names: list[str]
    users: Tensor
    sequences: Sequences
    unknown: list[str]

    def items(self, n_items: int) -> UserItems:
        """Distinct items of each history.

        Args:
            n_items: number of items of the data, padding included.
        """
        counts = self.sequences.ends[WHOLE] - self.sequences.starts
        rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
        keys = torch.unique(rows * n_items + self.sequences.items[: len(rows)])
        return UserItems.from_keys(keys, len(counts), n_items)


def read_histories(path: Path, split: Split, unknown: str = "error") -> GivenHistories:
    """Read histories, one on each line: a user, a tab, and items in order of time.

    Empty lines and a first line with the name of the users' column are skipped. Items are separated as in the data's
    files, by `seq_separator`, which is a blank unless it was set.

    Args:
        path: a text file in UTF-8.
        split: data with sequences.
        unknown: treatment of items that are not in the data set: `error`, or `skip` them.

    Raises:
        DataError: the file cannot be read, holds no history, or a line is malformed, has a user of another line, or has
            an unknown item.
    """
    dataset = split.dataset
    lines = read_lines(path, dataset.uid_field, "history")
    if not lines:
        raise DataError(f"history file {path} contains no history: write a user, a tab and items on each line")
    cells = [(number, text.split("\t")) for number, text in lines]
    for number, found in cells:
        if len(found) != 2 or not found[0].strip():
            raise DataError(f"history file {path} line {number}: expected a user, a tab and items, found {found!r:.60}")
    names = [found[0].strip() for _, found in cells]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        places = [str(number) for (number, _), name in zip(lines, names, strict=True) if name == twice]
        raise DataError(f"history file {path}: user {twice} is on the lines {shortened(places)}: write one for each")
    separator = dataset.config["seq_separator"]
    separator = separator if separator.strip() else None  # any blanks
    words = [[word for word in found[1].split(separator) if word.strip()] for _, found in cells]
    flat = [word.strip() for row in words for word in row]
    items = inner_ids(dataset, dataset.iid_field, flat)
    missing = list(dict.fromkeys(np.array(flat, dtype=object)[(items == 0).numpy()].tolist()))
    if missing and unknown == "error":
        raise DataError(
            f"--history={path}: {len(missing):,} of {len(set(flat)):,} items are not in the data set "
            f"{dataset.dataset_name}: {shortened(missing)}; --unknown_items=skip passes over them"
        )
    rows = torch.repeat_interleave(torch.arange(len(words)), torch.tensor([len(row) for row in words]))
    counts = torch.bincount(rows[items > 0], minlength=len(words))
    ends = counts.cumsum(0)
    known = torch.cat([items[items > 0], torch.zeros(1, dtype=torch.int64)])  # a place to look at if there is none
    own = split.train.sequences
    sequences = Sequences(known, ends - counts, {WHOLE: ends}, own.length, own.fields)
    return GivenHistories(names, inner_ids(dataset, dataset.uid_field, names), sequences, missing)
