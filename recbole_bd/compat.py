"""Repairs of RecBole 1.2.1 for current NumPy, SciPy and torch. The only file that patches anything.

`apply` repairs NumPy and SciPy once, when `recbole_bd` is imported. Each repair probes first and leaves alone what
works, so on an older stack nothing changes. `require` is called before anything of RecBole is imported. Every other
patch is a context manager: it changes names in RecBole's own modules and restores them at its end.

RecBole, torch and pandas are imported here only when a function needs them. `recbole.quick_start`, which imports ray,
is never imported, and RecBole's pickled checkpoints are read by `recbole_bd.backbones.recbole_pickle`.

Other files change model and trainer INSTANCES, never a module or a class:

    backbones/acceleration/embedding_gradients.py   class of embedding layers: compact gradients
    backbones/acceleration/sparse_graphs.py         adjacency matrices: compressed rows
    backbones/acceleration/sparse_histories.py      class of the first layer and dropout of an autoencoder
    backbones/extra_state.py                        plain attributes, restored from a checkpoint
    backbones/scoring/pair_networks.py              `full_sort_predict`
    backbones/scoring/row_models.py                 `full_sort_predict`, layers replaced while scores are computed
    backbones/shared_propagation.py                 `training` flags, cached scores, methods that run once per batch
    evaluator/per_user.py                           `topk_result` of RecBole's metrics: keeps values per user
    trainer/evaluation.py, trainer/role_trainer.py  collector and evaluator of RecBole's Trainer
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_bd.errors import ConfigError, InstallationError

RECBOLE_VERSION = "1.2.1"
INSTALL_RECBOLE = f"pip install --no-deps recbole=={RECBOLE_VERSION}"


def require_recbole() -> None:
    """Check that RecBole is installed; pip cannot install it for Python >= 3.12, so the error names the command.

    Raises:
        InstallationError: RecBole is not installed.
    """
    if importlib.util.find_spec("recbole") is None:
        raise InstallationError(
            "RecBole is not installed: pip leaves it out, since the ray that it requires has no wheel for this Python. "
            f"Run: {INSTALL_RECBOLE}"
        )


def require_pandas_below_3() -> None:
    """Refuse pandas 3, under which RecBole silently keeps missing values.

    RecBole fills them with `df[column].fillna(inplace=True)`, which no longer changes `df`.

    Raises:
        InstallationError: pandas 3 or newer is installed.
    """
    installed = importlib.metadata.version("pandas")  # importing it takes .3 s
    if int(installed.split(".")[0]) >= 3:
        raise InstallationError(
            f"pandas {installed} makes RecBole keep missing values silently. Run: pip install 'pandas<3'"
        )


def restore_numpy_names() -> bool:
    """Restore the aliases that RecBole's `Config.compatibility_settings` reads and NumPy 2 removed.

    Returns:
        Whether anything was missing.
    """
    names = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
    missing = {name: value for name, value in names.items() if name not in np.__dict__}
    for name, value in missing.items():
        setattr(np, name, value)
    return bool(missing)


def restore_dok_update() -> bool:
    """Restore `dok_matrix._update`, which SciPy 1.13 removed; LightGCN and others fill their adjacency with it.

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
    """Hide warnings that appear in every run and that its user cannot act on.

    torch warns of `GradScaler` in every epoch and of sparse CSR tensors as a beta feature. pandas warns of chained
    assignment, which works as RecBole expects below pandas 3.
    """
    warnings.filterwarnings("ignore", message=r"Sparse CSR tensor support is in beta state", category=UserWarning)
    warnings.filterwarnings("ignore", message=r"torch\.sparse\.SparseTensor\(.* is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", message=r".*torch\.cuda\.amp\.GradScaler.*", category=FutureWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.data\.dataset\.dataset")


class _Overlay:
    """A module with some of its names replaced, for the namespace of a module that imports it."""

    def __init__(self, module: ModuleType, **replaced: Any):
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextlib.contextmanager
def reading_through(open_text: Callable[..., Any], read_csv: Callable[..., Any]) -> Iterator[None]:
    """Let RecBole's `Dataset._load_feat` read files with other functions than `open` and `pandas.read_csv`.

    RecBole reads cells by pandas' rules for CSV and with the slow parser: the id `NA` becomes a missing value, and a
    quotation mark swallows what follows. Only names in RecBole's own module change, and only within the scope.

    Args:
        open_text: called as `open(path, "r", encoding=...)`, gives the header.
        read_csv: called as `pandas.read_csv(path, delimiter=, usecols=, dtype=, encoding=, engine=)`.
    """
    host: Any = importlib.import_module("recbole.data.dataset.dataset")
    pandas = host.pd
    host.open, host.pd = open_text, _Overlay(pandas, read_csv=read_csv)
    try:
        yield
    finally:
        del host.open
        host.pd = pandas


@contextlib.contextmanager
def model_files_read_through(load_state: Callable[..., Any], load_array: Callable[..., np.ndarray]) -> Iterator[None]:
    """Let RecBole's models read files with other functions than `torch.load` and `numpy.load`.

    The names `torch` and `np` change in the imported modules below `recbole.model`, and only within the scope. The
    modules torch and NumPy themselves stay as they are for everything else in the process.

    Args:
        load_state: called as `torch.load(path, ...)`.
        load_array: called as `numpy.load(path, ...)`.
    """
    torch = importlib.import_module("torch")
    with contextlib.suppress(ImportError):  # reported where the model is looked up
        importlib.import_module("recbole.model.general_recommender")
    overlays = {torch: _Overlay(torch, load=load_state), np: _Overlay(np, load=load_array)}
    hosts = [module for name, module in list(sys.modules.items()) if name.startswith("recbole.model.")]
    changed = [
        (host, name, original) for host in hosts for name, original in list(vars(host).items())
        if isinstance(original, ModuleType) and original in overlays
    ]  # fmt: skip
    for host, name, original in changed:
        setattr(host, name, overlays[original])
    try:
        yield
    finally:
        for host, name, original in changed:
            setattr(host, name, original)


def apply() -> list[str]:
    """Make every repair that the installed NumPy and SciPy need.

    Returns:
        Names of the repairs made; empty for the versions that RecBole was written for.
    """
    made = [repair.__name__ for repair in (restore_numpy_names, restore_dok_update) if repair()]
    silence_known_warnings()
    logging.getLogger(__name__).debug("compatibility fixes applied for RecBole: %s", made or "none needed")
    return made


def require() -> None:
    """Check that RecBole can work in this installation, before anything of it is imported.

    Raises:
        InstallationError: RecBole is missing or pandas is too new.
    """
    require_recbole()
    require_pandas_below_3()


def add_metric(key: str, name: str, metric: Any) -> None:
    """Add a metric to RecBole's tables, which have no way in for metrics of others. An added one may be replaced.

    Args:
        key: name in RecBole's setting `metrics`, in lower case.
        name: name in results.
        metric: the class. The one that is added checks what the metric calls its values.
    """
    register: Any = importlib.import_module("recbole.evaluator.register")

    def calculate_metric(self: Any, dataobject: Any) -> dict[str, float]:
        found = metric.calculate_metric(self, dataobject)
        for result in found:
            if result.partition("@")[0] != name:
                raise ConfigError(f"metric {metric.__name__} gives {result!r}: its values must be called {name}")
        return found

    register.metrics_dict[key] = type(metric.__name__, (metric,), {"calculate_metric": calculate_metric})
    register.metric_information[key] = list(metric.metric_need)
    register.metric_types[key] = metric.metric_type


class _NoTensorBoard:
    """A TensorBoard writer that drops everything: RecBole logs sums of one role, the journal means of both roles."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop a value."""

    add_hparams = add_scalar


@contextlib.contextmanager
def without_host_tensorboard() -> Iterator[None]:
    """Build a RecBole Trainer that does not open ./log_tensorboard: runs write to their own folder."""
    host_module: Any = importlib.import_module("recbole.trainer.trainer")
    original = host_module.get_tensorboard
    host_module.get_tensorboard = lambda _: _NoTensorBoard()
    try:
        yield
    finally:
        host_module.get_tensorboard = original
