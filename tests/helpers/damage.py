"""Damaged and malicious files for the tests of every reader."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from recbole_bd.errors import BDError
from recbole_bd.system import sealed_archive
from tests.helpers.counts import tally

TRUNCATIONS, FLIPS = 20, 50


def damaged(whole: bytes, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file cut at 20 lengths, from nothing to all but a byte, and with one byte changed 50 times."""
    for length in np.linspace(0, len(whole) - 1, TRUNCATIONS, dtype=int):
        yield "truncations", whole[:length]
    generator = np.random.default_rng(seed)
    for place in generator.integers(len(whole), size=FLIPS):
        changed = bytearray(whole)
        changed[place] ^= int(generator.integers(1, 256))
        yield "byte flips", bytes(changed)


def refused_or_right(config: pytest.Config, group: str, path: Path, read: Callable[[Path], object], same=None) -> None:
    """Damage a file in every way of `damaged`: each time reading it is a one-line error or gives what it gave before.

    Args:
        config: of the test session, for the counts.
        group: what the counts are of.
        path: the file, which is left as it was.
        read: reads it.
        same: compares what is read with what was right; None: any content will do, as long as there is no traceback.
    """
    whole, right = path.read_bytes(), read(path)
    for kind, content in damaged(whole):
        path.write_bytes(content)
        tally(config, f"{group}: {kind}")
        found, message = None, ""
        try:
            found = read(path)
        except BDError as error:
            message = str(error)
        if message:
            assert len(message.splitlines()) == 1
            assert path.name in message or path.parent.name in message
        else:
            assert same is None or same(found, right), f"wrong content after {kind}"
        tally(config, f"{group}: {'refused' if message else 'read' if same is None else 'right'}")
    path.write_bytes(whole)


class Evil:
    """Unpickled by a careless reader it makes the folder `marker`."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


REFUSAL = r"asks for (posix|nt)\.mkdir, which could run code, and is refused"


def sealed(path: Path, content: object) -> Path:
    """An archive with a right checksum whatever is in it: its writer is not to be trusted."""
    with mock.patch.object(sealed_archive, "_encode", lambda value, place: value):
        sealed_archive.save_archive(path, content)
    return path


def recbole_checkpoint(data_path: Path, model: str = "BPR", **changes):
    """A trained Trainer of RecBole, as `run_recbole` makes it; its checkpoint is `saved_model_file`, in this folder."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    settings = {"data_path": str(data_path), "epochs": 1, "topk": [5], "valid_metric": "MRR@5", "embedding_size": 8}
    with mock.patch("sys.argv", ["x"]):
        config = Config(model, "blocks", config_dict=settings | changes)
        init_seed(config["seed"], config["reproducibility"])
        train, valid, _ = data_preparation(config, create_dataset(config))
        trainer = Trainer(config, get_model(model)(config, train._dataset))
        trainer.fit(train, valid, verbose=False)
    return trainer


def same_state(found, right) -> bool:
    """Return whether two pairs (snapshot, about) are bitwise equal."""
    (one, about), (other, about_too) = found, right
    return (
        about == about_too
        and (one.epoch, one.valid) == (other.epoch, other.valid)
        and one.state.keys() == other.state.keys()
        and all(torch.equal(one.state[name], other.state[name]) for name in one.state)
        and one.other.keys() == other.other.keys()
    )


def same_arrays(found: dict, right: dict) -> bool:
    """Return whether two dictionaries of arrays are bitwise equal."""
    return found.keys() == right.keys() and all(
        found[name].dtype == right[name].dtype
        and found[name].shape == right[name].shape
        and found[name].tobytes() == right[name].tobytes()
        for name in found
    )
