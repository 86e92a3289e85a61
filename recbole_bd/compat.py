"""Repairs of RecBole 1.2.1 for current NumPy, SciPy and torch. The only file that patches anything.

One function per break. Each probes first and touches nothing that works, so on an older stack this
module does nothing. `apply` is called once, when `recbole_bd` is imported; `require` before anything of
RecBole is.

Breaks that need no patch are met by not taking the broken path: `recbole.quick_start` (which imports
ray) is never imported, and RecBole's pickled checkpoints are read by `recbole_bd.backbones.checkpoint`.
"""

import contextlib
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_bd.errors import InstallationError

RECBOLE_VERSION = "1.2.1"
INSTALL_RECBOLE = f"pip install --no-deps recbole=={RECBOLE_VERSION}"


def require_recbole() -> None:
    """Say which one command is missing where pip could not install RecBole (Python >= 3.12).

    Raises:
        InstallationError: RecBole is not installed.
    """
    if importlib.util.find_spec("recbole") is None:
        raise InstallationError(
            "RecBole is not installed (its ray pin has no wheel for this Python, so pip leaves it out). "
            f"Run: {INSTALL_RECBOLE}"
        )


def require_pandas_below_3() -> None:
    """Refuse pandas 3, under which RecBole silently keeps missing values.

    RecBole fills them with `df[column].fillna(inplace=True)`, which no longer changes `df`.

    Raises:
        InstallationError: pandas 3 or newer is installed.
    """
    if int(pd.__version__.split(".")[0]) >= 3:
        raise InstallationError(
            f"pandas {pd.__version__} makes RecBole keep missing values silently. Run: pip install 'pandas<3'"
        )


def restore_numpy_names() -> bool:
    """Give back the aliases that RecBole's `Config.compatibility_settings` reads (gone in NumPy 2).

    Returns:
        Whether anything was missing.
    """
    names = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
    missing = {name: value for name, value in names.items() if name not in np.__dict__}
    for name, value in missing.items():
        setattr(np, name, value)
    return bool(missing)


def restore_dok_update() -> bool:
    """Give back `dok_matrix._update`, with which LightGCN and kin fill their adjacency (gone in SciPy 1.13).

    Returns:
        Whether it was missing.
    """
    if hasattr(sp.dok_matrix, "_update"):
        return False

    def _update(self: sp.dok_matrix, entries: Mapping[tuple[int, int], float]) -> None:
        self._dict.update(entries)

    sp.dok_matrix._update = _update
    return True


def silence_known_warnings() -> None:
    """Hide notices that come at every run and its user can do nothing about.

    torch's on `GradScaler`, repeated every epoch, and on its sparse rows being new; pandas' on chained assignment,
    whose cause is met by `pandas<3`.
    """
    warnings.filterwarnings("ignore", message=r"Sparse CSR tensor support is in beta state", category=UserWarning)
    warnings.filterwarnings("ignore", message=r"torch\.sparse\.SparseTensor\(.* is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", message=r".*torch\.cuda\.amp\.GradScaler.*", category=FutureWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.data\.dataset\.dataset")


class _PandasReading:
    """pandas with another `read_csv`."""

    def __init__(self, read_csv: Callable[..., pd.DataFrame]):
        self.read_csv = read_csv

    def __getattr__(self, name: str) -> Any:
        return getattr(pd, name)


@contextlib.contextmanager
def reading_through(open_text: Callable[..., Any], read_csv: Callable[..., pd.DataFrame]) -> Iterator[None]:
    """Let RecBole's `Dataset._load_feat` read a file through other functions than `open` and `pandas.read_csv`.

    It reads cells by pandas' rules for CSV, with the slow reader: an id `NA` is a missing value, and a quotation mark
    swallows what follows. The names are put into the namespace of RecBole's module, and taken out at the end.

    Args:
        open_text: called as `open(path, "r", encoding=...)`, gives the header.
        read_csv: called as `pandas.read_csv(path, delimiter=, usecols=, dtype=, encoding=, engine=)`.
    """
    host: Any = importlib.import_module("recbole.data.dataset.dataset")
    host.open, host.pd = open_text, _PandasReading(read_csv)
    try:
        yield
    finally:
        del host.open
        host.pd = pd


def apply() -> list[str]:
    """Make every repair that this stack needs.

    Returns:
        The names of the repairs made; empty on a stack that RecBole was written for.
    """
    made = [repair.__name__ for repair in (restore_numpy_names, restore_dok_update) if repair()]
    silence_known_warnings()
    logging.getLogger(__name__).debug("repairs made for RecBole: %s", made or "none needed")
    return made


def require() -> None:
    """Check that RecBole can work here, before anything of it is imported.

    Raises:
        InstallationError: RecBole is missing or pandas is too new.
    """
    require_recbole()
    require_pandas_below_3()


class _NoTensorBoard:
    """Takes what RecBole's Trainer would log (sums of losses, one role); the journal records means of both."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop it."""

    add_hparams = add_scalar


@contextlib.contextmanager
def without_host_tensorboard() -> Iterator[None]:
    """RecBole's Trainer opens ./log_tensorboard when it is built; runs of this package write to their own folder."""
    host_module: Any = importlib.import_module("recbole.trainer.trainer")
    original = host_module.get_tensorboard
    host_module.get_tensorboard = lambda _: _NoTensorBoard()
    try:
        yield
    finally:
        host_module.get_tensorboard = original
