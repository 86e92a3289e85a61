"""Rows of recommendations, and the formats in which they are written."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recbole_bd.errors import ConfigError, InstallationError

COLUMNS = ("user_id", "item_id", "rank", "score")


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
