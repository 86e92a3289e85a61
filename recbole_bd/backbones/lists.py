"""A teacher of which only ranked lists are known, such as a model of another framework: read from a file."""

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn

from recbole_bd.errors import ConfigError, DataError, reason_of

logger = logging.getLogger(__name__)

_RANK = "rank"


class Lists(GeneralRecommender):
    """Score = -log(rank) of listed items, -log(number of items) of all others.

    So a softmax of the scores is 1 / rank, up to a factor. The order is what the file says; the numbers are a choice
    of this package, as a list has none. Methods rank listed items only: see `known_lists`.

    Args:
        config: settings of the role, with `teacher_lists`.
        dataset: the training part, which knows the ids.

    Attributes:
        lists: int32 [n_users, K], the listed items of each user, the best first; 0 after a user's last item.

    Raises:
        ConfigError: no file is named.
        DataError: the file cannot be read, or a line of it is wrong; names the line.
    """

    input_type = InputType.POINTWISE
    type = ModelType.TRADITIONAL

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        if not config["teacher_lists"]:
            raise ConfigError("model Lists: no lists are named; use --teacher_lists=FILE")
        self.lists = read_lists(Path(config["teacher_lists"]), dataset).to(self.device)
        self.fake_loss = nn.Parameter(torch.zeros(1))  # RecBole's trainer needs a parameter; nothing reads it
        self.other_parameter_name = ["lists"]

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """Take over the lists of a stored model, on this one's device."""
        super().load_other_parameter(para)
        self.lists = self.lists.to(self.device)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """No loss, as nothing is learned. A scalar."""
        return self.fake_loss.sum()

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each (user, item) row. [B]."""
        is_it = self.lists[interaction[self.USER_ID]] == interaction[self.ITEM_ID].unsqueeze(1)
        ranks = torch.where(is_it.any(dim=1), is_it.int().argmax(dim=1) + 1, self.n_items)
        return -torch.log(ranks.float())

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item for each user, padding first. [B * n_items]."""
        listed = self.lists[interaction[self.USER_ID]].long()
        last = -torch.log(torch.tensor(float(self.n_items), device=listed.device))
        ranks = torch.arange(1, listed.shape[1] + 1, device=listed.device, dtype=torch.float32)
        scores = last.repeat(len(listed), self.n_items)
        scores.scatter_(1, listed, torch.where(listed > 0, -torch.log(ranks), last))
        return scores.view(-1)


def known_lists(model: Any) -> Tensor | None:
    """Items that a model of lists ranks for each user, int32 [n_users, K]; None for a model that scores all items."""
    return model.lists if isinstance(model, Lists) else None


def read_lists(path: Path, dataset: Any) -> Tensor:
    """Read ranked lists of items by user.

    Lines of users or items that the data lacks are left out; a warning says how many. Ranks may have gaps: only their
    order counts.

    Args:
        path: text in UTF-8: a header with the names of the data's columns of users and items and `rank`, with or
            without types (`user_id:token`), in any order; then one line for each listed item. Cells are between tabs,
            or as in a spreadsheet's CSV in a file `.csv`, such as those of `recbole-bd recommend`.
        dataset: RecBole's data set, which knows the ids.

    Returns:
        int32 [n_users, K], internal ids, the best first; 0 after a user's last item.

    Raises:
        DataError: the file cannot be read, a column is missing, a rank is no whole number from 1, a user has an item or
            a rank twice, or no line is of the data.
    """
    user_field, item_field = dataset.uid_field, dataset.iid_field
    table = _table(path, [user_field, item_field, _RANK])
    ranks = pd.to_numeric(table[_RANK], errors="coerce")
    is_rank = (ranks >= 1) & (ranks % 1 == 0) & (ranks < 2**31)
    if not is_rank.all():
        row = is_rank.idxmin()
        raise _error(path, row, f"rank {table[_RANK][row]!r}: expected a whole number from 1, the best")
    by_number = table.assign(**{_RANK: ranks})
    for field, others in ((item_field, "item"), (_RANK, "rank")):
        if (twice := by_number.duplicated([user_field, field])).any():
            row = twice.idxmax()
            raise _error(path, row, f"user {table[user_field][row]} has {others} {table[field][row]} twice")
    users, items = (table[field].map(dataset.field2token_id[field]) for field in (user_field, item_field))
    known = (users > 0) & (items > 0)  # 0 is padding, and ids that the data lacks are NaN
    if not known.any():
        raise DataError(f"teacher_lists {path}: no line has a user and an item of the data; use its original ids")
    kept = pd.DataFrame({"user": users[known].astype(int), "item": items[known].astype(int), "rank": ranks[known]})
    kept = kept.sort_values(["user", "rank"])
    places = kept.groupby("user").cumcount().to_numpy()
    lists = np.zeros((dataset.user_num, places.max() + 1), dtype=np.int32)
    lists[kept["user"], places] = kept["item"]
    _tell(path, len(table) - len(kept), dataset.user_num - 1 - kept["user"].nunique())
    return torch.from_numpy(lists)


def _table(path: Path, fields: list[str]) -> pd.DataFrame:
    """Cells as text, a row for each line after the header, without blank lines; row n is line n + 2."""
    is_csv = path.suffix.lower() == ".csv"
    try:
        table = pd.read_csv(
            path,
            sep="," if is_csv else "\t",
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"teacher_lists {path} cannot be read: {reason_of(error)}") from error
    table.columns = [str(name).split(":")[0] for name in table.columns]
    if missing := [field for field in fields if list(table.columns).count(field) != 1]:
        raise DataError(
            f"teacher_lists {path} line 1: expected a header with {', '.join(fields)}, each once and between "
            f"{'commas' if is_csv else 'tabs'}, without {', '.join(missing)} found: {', '.join(table.columns)[:80]!r}"
        )
    if not isinstance(table.index, pd.RangeIndex):  # the first cells became the index
        raise DataError(f"teacher_lists {path} line 2: more cells than the header has")
    table = table[fields].fillna("")
    return table[(table != "").any(axis=1)]


def _error(path: Path, row: int, problem: str) -> DataError:
    return DataError(f"teacher_lists {path} line {row + 2}: {problem}")


def _tell(path: Path, left_out: int, without: int) -> None:
    if left_out:
        logger.warning("teacher_lists %s: %d lines have a user or an item that the data lacks", path, left_out)
    if without:
        logger.warning(
            "teacher_lists %s: %d users have no list, and learn nothing of the teacher's order", path, without
        )
