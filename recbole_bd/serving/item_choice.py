"""Items that may be recommended: named in files, or chosen by a column of the data set's `.item` file."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_bd.data.atomic_file import AtomicFile
from recbole_bd.data.columns import Column
from recbole_bd.data.intervals import check_interval, parse_intervals
from recbole_bd.data.split import Split
from recbole_bd.errors import ConfigError, DataError
from recbole_bd.serving.id_file import read_ids, shortened
from recbole_bd.serving.recommender import inner_ids

_COMPARED = 10_000  # values of a column among which close ones are looked for


@dataclass(frozen=True)
class ItemChoice:
    """Which items may be recommended.

    Attributes:
        only: file with the ids of the only items, one on each line; None for all items of the data set.
        without: file with ids of items that are not recommended, or None.
        filters: conditions `COLUMN=VALUE` on the data set's `.item` file, see `satisfied`. All of them must hold.
        unknown: treatment of ids in the files that are not in the data set: `error`, or `skip` them.
        untrained: treatment of items without training interactions: `keep`, as when the model is measured, or `drop`.
    """

    only: Path | None = None
    without: Path | None = None
    filters: Sequence[str] = ()
    unknown: str = "error"
    untrained: str = "keep"


@dataclass(frozen=True)
class ChosenItems:
    """Result of `choose_items`.

    Attributes:
        allowed: bool [n_items], the items that may be recommended; False for padding.
        unknown: ids in the files that are not in the data set.
    """

    allowed: Tensor
    unknown: list[str]


def choose_items(split: Split, choice: ItemChoice) -> ChosenItems:
    """Find the items that may be recommended.

    Raises:
        DataError: a file cannot be read, names unknown items, or no item is left.
        ConfigError: a filter is malformed, or names a column or a value that the `.item` file does not have.
    """
    allowed = torch.ones(split.n_items, dtype=torch.bool)
    allowed[0] = False
    steps, unknown = [f"{split.n_items - 1:,} are in the data"], []

    def keep(option: str, kept: Tensor) -> None:
        allowed.logical_and_(kept)
        steps.append(f"{int(allowed.sum()):,} after {option}")

    for name, path in (("items", choice.only), ("exclude_items", choice.without)):
        if path is not None:
            listed, missing = _listed(split, path, f"--{name}", choice.unknown)
            unknown += missing
            keep(f"--{name}={path}", listed if name == "items" else ~listed)
    for condition in choice.filters:
        keep(f"--filter={condition!r}", satisfied(split, condition))
    if choice.untrained == "drop":
        keep("--untrained_items=drop", torch.from_numpy(split.trained[1]))
    if not allowed.any():
        raise DataError(f"no item is left to recommend: {', '.join(steps)}")
    return ChosenItems(allowed, list(dict.fromkeys(unknown)))


def _listed(split: Split, path: Path, option: str, unknown: str) -> tuple[Tensor, list[str]]:
    """The items of a file, bool [n_items], and those of its ids that are not in the data set."""
    dataset = split.dataset
    names = read_ids(path, dataset.iid_field, "items", may_be_empty=option != "--items")
    numbers = inner_ids(dataset, dataset.iid_field, names)
    missing = [names[row] for row in (numbers == 0).nonzero()[:, 0].tolist()]
    if missing and unknown == "error":
        raise DataError(
            f"{option}={path}: {len(missing):,} of {len(names):,} items are not in the data set "
            f"{dataset.dataset_name}: {shortened(missing)}; --unknown_items=skip passes over them"
        )
    listed = torch.zeros(split.n_items, dtype=torch.bool)
    listed[numbers] = True
    listed[0] = False
    return listed, missing


def satisfied(split: Split, condition: str) -> Tensor:
    """Find the items whose row of the `.item` file satisfies a condition.

    The file is read again, so that a condition sees its cells as they are written. A run may have left the column out,
    and RecBole may have normalised it.

    Args:
        split: the data.
        condition: `COLUMN=VALUE`. VALUE is intervals (`[0,10)`, several with `;`) or numbers for a column of numbers,
            and words for any other (several with `;`). In a sequence one element has to match.

    Returns:
        bool [n_items]; False for items without a row, and for missing cells.

    Raises:
        DataError: the file cannot be read.
        ConfigError: the condition is malformed, or names a column or a value that the file does not have.
    """
    where = f"--filter={condition!r}"
    name, equals, value = (part.strip() for part in condition.partition("="))
    if not (name and equals and value):
        raise ConfigError(f"{where}: expected COLUMN=VALUE, such as genre=Comedy or 'price=[0,10)'")
    dataset, config = split.dataset, split.dataset.config
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not path.is_file():
        raise DataError(f"{where} needs {path}, which does not exist; name the items with --items=FILE")
    file = AtomicFile(path, config["encoding"] or "utf-8", config["field_separator"], config["seq_separator"])
    file.require((), (dataset.iid_field,))
    columns = {column.name: column for column in file.columns}
    if name not in columns:
        raise ConfigError(f"{where}: {path} has no column {name}; it has {', '.join(columns)}")
    ids, wanted = str(columns[dataset.iid_field]), columns[name]
    kinds = {
        str(column): np.float64 if column.type == "float" else str for column in (columns[dataset.iid_field], wanted)
    }
    table = file.frame(None, list(kinds), kinds)
    hits = _hits(table[str(wanted)], wanted, value, where, config["seq_separator"])
    numbers = inner_ids(dataset, dataset.iid_field, table[ids][hits].tolist())
    found = torch.zeros(split.n_items, dtype=torch.bool)
    found[numbers] = True
    found[0] = False
    return found


def _hits(cells: Any, column: Column, value: str, where: str, separator: str) -> np.ndarray:
    """Rows whose cell matches, bool; an element of the cell in a column of sequences."""
    elements = cells.dropna()
    if column.type.endswith("_seq"):
        elements = elements.str.split(separator).explode()
        elements = elements[elements != ""]
    if column.type.startswith("float"):
        numbers = elements if column.type == "float" else elements.astype(np.float64)
        matching = _in_intervals(numbers.to_numpy(), value, where)
    else:
        matching = _among_words(elements, column.name, value, where)
    hits = np.zeros(len(cells), dtype=bool)
    hits[elements.index[matching]] = True
    return hits


def _in_intervals(numbers: np.ndarray, value: str, where: str) -> np.ndarray:
    parts = [part.strip() for part in value.split(";")]
    intervals = ";".join(f"[{part},{part}]" if _is_number(part) else part for part in parts)
    try:
        check_interval(where, intervals)
    except ConfigError:
        raise ConfigError(
            f"{where}: the column holds numbers; expected a number, or intervals such as [5,inf) or (0,1];[3,4)"
        ) from None
    within = np.zeros(len(numbers), dtype=bool)
    for opening, low, high, closing in parse_intervals(intervals):
        above = numbers >= low if opening == "[" else numbers > low
        within |= above & (numbers <= high if closing == "]" else numbers < high)
    return within


def _among_words(words: Any, name: str, value: str, where: str) -> np.ndarray:
    present = dict.fromkeys(pd.unique(words))
    wanted = [value] if value in present else [part.strip() for part in value.split(";")]
    for word in wanted:
        if word not in present and _is_intervals(value):
            raise ConfigError(
                f"{where}: the column {name} holds words, which have no intervals: name words, several with ';', or "
                f"declare the column as {name}:float in the file's first line; it has {shortened(sorted(present))}"
            )
        if word not in present:
            close = get_close_matches(word, list(present)[:_COMPARED], n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {shortened(sorted(present))}"
            raise ConfigError(f"{where}: no item has {word!r} in the column {name}; {hint}")
    return words.isin(wanted).to_numpy()


def _is_intervals(text: str) -> bool:
    try:
        return bool(parse_intervals(text))
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
