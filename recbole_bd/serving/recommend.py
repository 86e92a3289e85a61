"""`recbole-bd recommend`: the best items of users, written to a file with the original ids of the data set."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from recbole_bd.data.split import Split
from recbole_bd.errors import DataError
from recbole_bd.serving.id_file import shortened
from recbole_bd.serving.recommender import Recommender, ids_of, inner_ids
from recbole_bd.serving.rows import Rows, writer_of
from recbole_bd.system.atomic_write import write_atomically

# Greatest numbers of users, and of rows, that are computed and written together.
_USERS_AT_ONCE, _ROWS_AT_ONCE = 1000, 2**20


@dataclass
class RecommendationSummary:
    """Counts of what was written, and the users whom the model does not know.

    Attributes:
        users: number of users with at least one row.
        rows: number of rows.
        fewest, most: least and greatest number of rows of a user with rows.
        fewer: number of users who have rows, but fewer than the recommender's `count`.
        without_items: number of users who have no row, because no item is left for them.
        unknown: requested users that are not in the data set, in the requested order.
        untrained: other requested users from whose items the model cannot score, in the requested order.
        reason: what those lack, in words: training interactions, or for a sequential model items.
        untrained_rows: number of rows whose item has no training interaction.
        untrained_items: number of different items in these rows.
    """

    users: int = 0
    rows: int = 0
    fewest: int = 0
    most: int = 0
    fewer: int = 0
    without_items: int = 0
    unknown: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    reason: str = "without training interactions"
    untrained_rows: int = 0
    untrained_items: int = 0


def recommend(
    recommender: Recommender, split: Split, users: Sequence[str] | None, out: Path, unknown: str = "skip"
) -> RecommendationSummary:
    """Write the best items of users to a file. Working memory does not grow with the number of users.

    Args:
        recommender: the model, and perhaps histories to recommend after.
        split: the model's data.
        users: original ids; None for all users of the data set, in its order, or for those of given histories.
        out: a `.csv`, `.jsonl` or `.parquet` file; it is written whole or not at all.
        unknown: treatment of users whom the model does not know. They are not in the data set, or have no training
            interaction there. `skip` writes nothing for them, `popular` the items with most training interactions, and
            `error` raises an error before anything is written.

    Raises:
        DataError: a user whom the model does not know with `unknown="error"`, a score that is NaN, or no row to write.
        ConfigError: the file's ending is not that of a format.
        InstallationError: a parquet file needs pyarrow, which is not installed.
        CheckpointError: the file cannot be written.
    """
    dataset = split.dataset
    if recommender.given is not None:
        names = np.array(recommender.given.names, dtype=object)
        numbers = torch.arange(len(names))
    else:
        names = np.array(ids_of(dataset, dataset.uid_field) if users is None else users, dtype=object)
        numbers = inner_ids(dataset, dataset.uid_field, names)
    scored, absent = recommender.scored[numbers], recommender.not_in_data(numbers)
    summary = RecommendationSummary(
        unknown=names[absent.numpy()].tolist(),
        untrained=names[(~absent & ~scored).numpy()].tolist(),
    )
    if recommender.given is not None:
        summary.reason = "without an item of the data"
    listed = torch.arange(len(names)) if unknown == "popular" else scored.nonzero()[:, 0]
    if len(listed) == 0 or (unknown == "error" and not scored.all()):
        raise DataError(_not_known(summary, len(names), dataset.dataset_name, unknown))
    write = writer_of(out)
    bar = tqdm(total=len(listed), unit="user", disable=not sys.stderr.isatty())
    with bar, recommender.role.scoring():  # a graph model propagates once for all users
        request = _Request(recommender, split, names, numbers, scored, summary)
        chunks = request.rows(listed, bar.update)
        write_atomically(out, lambda stream: write(stream, chunks))
    return summary


def _not_known(summary: RecommendationSummary, users: int, dataset: str, unknown: str) -> str:
    """Say how many of some users the model does not know, why, and the way out."""
    reasons = [
        (summary.unknown, f"not in the data set {dataset}"),
        (summary.untrained, summary.reason),
    ]
    found = [
        f"{len(names):,} of {users:,} users are {reason}: {shortened(names)}" for names, reason in reasons if names
    ]
    skip = (
        "--unknown=skip leaves them out, "
        if unknown == "error" and len(summary.unknown + summary.untrained) < users
        else ""
    )
    return f"{'; '.join(found)}; {skip}--unknown=popular gives them popular items"


@dataclass
class _Request:
    """Requested users.

    Attributes:
        recommender, split: the model and its data.
        names: original ids, of dtype object.
        numbers: inner ids, int64; 0 if they are not in the data set.
        scored: whether the model knows them, bool; the others have popular items.
        summary: counts the rows.
    """

    recommender: Recommender
    split: Split
    names: np.ndarray
    numbers: Tensor
    scored: Tensor
    summary: RecommendationSummary

    def rows(self, listed: Tensor, progress: Callable[[int], Any]) -> Iterator[Rows]:
        """Find the rows of some users, in chunks.

        Args:
            listed: indices of the users, int64.
            progress: called with the number of users done since the last call.

        Raises:
            DataError: there was no row.
        """
        item_ids = np.asarray(self.split.dataset.field2id_token[self.split.dataset.iid_field]).astype(str)
        untrained, met = ~torch.from_numpy(self.split.trained[1]), torch.zeros(self.split.n_items, dtype=torch.bool)
        for part in listed.split(max(1, min(_USERS_AT_ONCE, _ROWS_AT_ONCE // self.recommender.count))):
            items, scores = self._best(self.numbers[part], self.scored[part])
            names = self.names[part.numpy()].astype(str)
            rows, places = (items > 0).nonzero(as_tuple=True)
            listed_items = items[rows, places]
            self._count(torch.bincount(rows, minlength=len(part)))
            met |= torch.bincount(listed_items, minlength=len(met)) > 0
            self.summary.untrained_rows += int(untrained[listed_items].sum())
            yield Rows(
                names[rows.numpy()], item_ids[listed_items.numpy()], places.numpy() + 1, scores[rows, places].numpy()
            )
            progress(len(part))
        self.summary.untrained_items = int((met & untrained).sum())
        if not self.summary.rows:
            raise DataError(
                f"no item is left for any of {len(listed):,} users: --exclude leaves out for each all that may be "
                "recommended; --exclude=nothing leaves out none"
            )

    def _best(self, numbers: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
        """Inner ids of the best items, int64 [C, count], and their logits, float32; NaN for popular items."""
        items = torch.zeros(len(numbers), self.recommender.count, dtype=torch.int64)
        scores = torch.full(items.shape, torch.nan)
        if scored.any():
            top = self.recommender.top(numbers[scored])
            items[scored], scores[scored] = top.items, top.scores
        if not scored.all():
            items[~scored] = self.recommender.popular(numbers[~scored])
        return items, scores

    def _count(self, lengths: Tensor) -> None:
        """Add the numbers of rows of some users, int64 [C]."""
        summary, filled = self.summary, lengths[lengths > 0]
        summary.without_items += len(lengths) - len(filled)
        if len(filled) == 0:
            return
        summary.fewest = min(summary.fewest or self.recommender.count, int(filled.min()))
        summary.most = max(summary.most, int(filled.max()))
        summary.users += len(filled)
        summary.rows += int(filled.sum())
        summary.fewer += int((filled < self.recommender.count).sum())
