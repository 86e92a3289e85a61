"""`recbole-bd recommend`: the best items of users, written to a file with the original ids of the data set."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from recbole_bd.data.split import Split
from recbole_bd.errors import ConfigError, DataError, InstallationError
from recbole_bd.serving.recommender import Recommender, ids_of, popular_items
from recbole_bd.system.atomic_write import write_atomically

ALL = "all"
UNKNOWN = ("skip", "popular", "error")
COLUMNS = ("user_id", "item_id", "rank", "score")
_USERS_AT_ONCE = 1000  # users whose rows are computed and written together


@dataclass(frozen=True)
class Rows:
    """Recommendations for some users, one row for each user and item.

    Attributes:
        users, items: original ids of the data set, unicode [n].
        ranks: int64 [n]; rank 1 is best.
        scores: logits, float32 [n]; NaN for an item that is recommended because it is popular.
    """

    users: np.ndarray
    items: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class RecommendationSummary:
    """Users for whom recommendations were written, and users that are unknown.

    Attributes:
        users: number of users with recommendations.
        unknown: requested users that are not in the data set, in the requested order.
    """

    users: int
    unknown: list[str]


def read_users(path: Path, user_field: str) -> list[str]:
    """Read original user ids from a file, one on each line.

    Empty lines and a first line with the column's name are skipped. Repeated users are kept once.

    Args:
        path: a text file in UTF-8.
        user_field: name of the user column in the data set, e.g. `user_id`.

    Raises:
        DataError: the file cannot be read, or holds no user.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"users file {path} cannot be read: {error}") from error
    users = [line.strip() for line in lines if line.strip()]
    if users and users[0].split(":")[0] == user_field:
        del users[0]
    if not users:
        raise DataError(f"users file {path} contains no users: write one id on each line")
    return list(dict.fromkeys(users))


def recommend(
    recommender: Recommender, split: Split, users: Sequence[str] | None, out: Path, unknown: str = "skip"
) -> RecommendationSummary:
    """Write the best items of users to a file. Memory does not grow with the number of users.

    Args:
        recommender: the model.
        split: the model's data.
        users: original ids; None for all users of the data set, in its order.
        out: a `.csv`, `.jsonl` or `.parquet` file; it is written whole or not at all.
        unknown: treatment of users that are not in the data set. `skip` writes nothing for them, `popular` the items
            with most training interactions, and `error` raises an error before anything is written.

    Raises:
        DataError: an unknown user with `unknown="error"`, or a score that is NaN.
        ConfigError: the file's ending is not that of a format.
        InstallationError: a parquet file needs pyarrow, which is not installed.
        CheckpointError: the file cannot be written.
    """
    dataset = split.dataset
    numbers = dataset.field2token_id[dataset.uid_field]
    if users is None:
        users = ids_of(dataset, dataset.uid_field)
    missing = [user for user in users if user not in numbers]
    if missing and unknown == "error":
        raise DataError(
            f"{len(missing)} of {len(users)} users are not in the data set {dataset.dataset_name}: "
            f"{shortened(missing)}; --unknown=skip leaves them out, --unknown=popular gives them popular items"
        )
    left_out = set(missing) if unknown == "skip" else set()
    listed = [user for user in users if user not in left_out]
    write = writer_of(out)
    bar = tqdm(total=len(listed), unit="user", disable=not sys.stderr.isatty())
    with bar, recommender.role.scoring():  # a graph model propagates once for all users
        chunks = _chunks(recommender, split, listed, numbers, bar.update)
        write_atomically(out, lambda stream: write(stream, chunks))
    return RecommendationSummary(len(listed), missing)


def shortened(names: Sequence[str], shown: int = 5) -> str:
    """Join the first of some names; `...` stands for the rest."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def _chunks(
    recommender: Recommender,
    split: Split,
    users: Sequence[str],
    numbers: dict[str, int],
    progress: Callable[[int], Any],
) -> Iterator[Rows]:
    item_ids = np.asarray(split.dataset.field2id_token[split.dataset.iid_field]).astype(str)
    popular = popular_items(split, recommender.count)
    for start in range(0, len(users), _USERS_AT_ONCE):
        names = np.array(users[start : start + _USERS_AT_ONCE])
        ids = torch.tensor([numbers.get(name, 0) for name in names])
        items = popular.repeat(len(ids), 1)
        scores = torch.full(items.shape, torch.nan)
        known = ids > 0
        if known.any():
            top = recommender.top(ids[known])
            items[known], scores[known] = top.items, top.scores
        rows, places = (items > 0).nonzero(as_tuple=True)
        yield Rows(
            names[rows.numpy()],
            item_ids[items[rows, places].numpy()],
            places.numpy() + 1,
            scores[rows, places].numpy(),
        )
        progress(len(ids))


def writer_of(path: Path) -> Callable[[BinaryIO, Iterator[Rows]], None]:
    """Choose the function that writes rows in the format of a file's ending.

    Raises:
        ConfigError: the ending is not that of a format.
        InstallationError: a parquet file needs pyarrow, which is not installed.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(f"{path}: the file extension names the format and must be one of {', '.join(_WRITERS)}")
    if path.suffix == ".parquet":
        _pyarrow()
    return _WRITERS[path.suffix]


def _write_csv(stream: BinaryIO, chunks: Iterator[Rows]) -> None:
    with _utf8_text(stream) as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for rows in chunks:
            scores = ("" if np.isnan(score) else score for score in rows.scores)
            table.writerows(zip(rows.users, rows.items, rows.ranks, scores, strict=True))


def _write_jsonl(stream: BinaryIO, chunks: Iterator[Rows]) -> None:
    with _utf8_text(stream) as text:
        for rows in chunks:
            starts = [*(rows.ranks == 1).nonzero()[0], len(rows.ranks)]
            scores = [None if np.isnan(score) else float(str(score)) for score in rows.scores]
            items = rows.items.tolist()
            for start, end in pairwise(starts):
                line = {"user_id": str(rows.users[start]), "item_ids": items[start:end], "scores": scores[start:end]}
                text.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_parquet(stream: BinaryIO, chunks: Iterator[Rows]) -> None:
    arrow, parquet = _pyarrow()
    kinds = (arrow.string(), arrow.string(), arrow.int32(), arrow.float32())
    schema = arrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with parquet.ParquetWriter(stream, schema) as table:
        for rows in chunks:
            columns = [
                arrow.array(rows.users.tolist(), kinds[0]),
                arrow.array(rows.items.tolist(), kinds[1]),
                arrow.array(rows.ranks, kinds[2]),
                arrow.array(rows.scores, kinds[3], from_pandas=True),  # NaN is null
            ]
            table.write_table(arrow.Table.from_arrays(columns, schema=schema))


@contextmanager
def _utf8_text(stream: BinaryIO) -> Iterator[io.TextIOWrapper]:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InstallationError(
            'parquet files need pyarrow: pip install "recbole-bd[export]", or write .csv or .jsonl'
        ) from error
    return pyarrow, pyarrow.parquet


_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
