"""Small data sets with a known structure."""

from pathlib import Path

import numpy as np

from recbole_bd.data.columns import Column, Table
from tests.helpers.paths import SHARED_DATA

PARTS = ("train", "valid", "test")


def write_inter(folder: Path, name: str, pairs, part: str | None = None, header="user_id:token\titem_id:token") -> Path:
    """Write interactions as a RecBole atomic file under folder/name/."""
    path = folder / name / (f"{name}.{part}.inter" if part else f"{name}.inter")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *("\t".join(map(str, pair)) for pair in pairs)]) + "\n")
    return path


def block_pairs(n_users=60, n_items=48, blocks=4, per_user=9, seed=0) -> list[tuple[str, str]]:
    """Users of block b interact with items of block b only: whoever learns the blocks ranks the held-out item high."""
    generator = np.random.default_rng(seed)
    size = n_items // blocks
    pairs = []
    for user in range(n_users):
        items = generator.choice(size, size=min(per_user, size), replace=False) + (user % blocks) * size
        pairs += [(f"u{user}", f"i{item}") for item in items]
    return pairs


def write_some_of_citeulike(folder: Path, users: int = 600) -> Path:
    """The interactions of the first users of the real data, parts as published; needs them, see `needs_data`."""
    for part in PARTS:
        header, *lines = (SHARED_DATA / "citeulike" / f"citeulike.{part}.inter").read_text().splitlines()
        pairs = [line.split("\t") for line in lines]
        write_inter(folder, "citeulike", [pair for pair in pairs if int(pair[0]) < users], part, header)
    return folder


def table_of(text: str, mark: str = "\t", separator: str | None = None) -> Table:
    """The atomic file x.inter with this text, whose header is right."""
    header, _, _ = text.partition("\n")
    columns = tuple(Column(*cell.split(":")) for cell in header.split(mark))
    return Table(Path("x.inter"), text.encode(), len(header.encode()) + 1, columns, mark, separator or mark, " ")
