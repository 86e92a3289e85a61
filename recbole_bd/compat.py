"""Repairs of RecBole 1.2.1 for current NumPy, SciPy and torch. The only file that patches anything.

`apply` repairs NumPy and SciPy once, when `recbole_bd` is imported. Each repair probes first and leaves alone what
works, so on an older stack nothing changes. `require` is called before anything of RecBole is imported. Every other
patch is a context manager: it changes names in RecBole's own modules and restores them at its end.

`import_on_demand`, for commands alone, changes when modules are imported, not what they do.

RecBole, torch and pandas are imported here only when a function needs them. `recbole.quick_start`, which imports ray,
is never imported, and RecBole's pickled checkpoints are read by `recbole_bd.backbones.recbole_pickle`.

Other files change model and trainer INSTANCES, never a module or a class:

    backbones/acceleration/embedding_gradients.py   class of embedding layers: compact gradients
    backbones/acceleration/short_histories.py       `forward` of sequential models
    backbones/acceleration/sparse_graphs.py         adjacency matrices: compressed rows
    backbones/acceleration/sparse_histories.py      class of the first layer and dropout of an autoencoder
    backbones/sampled_loss.py                       class of a CDAE that samples the items of its loss
    backbones/extra_state.py                        plain attributes, restored from a checkpoint
    backbones/scoring/pair_networks.py              `full_sort_predict`
    backbones/scoring/row_models.py                 `full_sort_predict`, layers replaced while scores are computed
    backbones/shared_propagation.py                 `training` flags, cached scores, methods that run once per batch
    evaluator/per_user.py                           `topk_result` of RecBole's metrics: keeps values per user
    trainer/evaluation.py, trainer/role_trainer.py  collector and evaluator of RecBole's Trainer
"""

import builtins
import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
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


class _NoLogger:
    """A writer that drops everything: RecBole logs sums of one role, the journal means of both roles."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop a value."""

    add_hparams = log_metrics = log_eval_metrics = add_scalar


@contextlib.contextmanager
def without_host_loggers() -> Iterator[None]:
    """Build a RecBole Trainer that opens neither ./log_tensorboard nor a run of Weights & Biases."""
    host_module: Any = importlib.import_module("recbole.trainer.trainer")
    originals = host_module.get_tensorboard, host_module.WandbLogger
    host_module.get_tensorboard = host_module.WandbLogger = lambda _: _NoLogger()
    try:
        yield
    finally:
        host_module.get_tensorboard, host_module.WandbLogger = originals


# Modules that RecBole's modules import at their top and call, if at all, much later. They take 1 s to import.
_CALLED_LATE = {
    "recbole.evaluator.metrics": {"sklearn.metrics"},
    "recbole.model.general_recommender.nceplrec": {"sklearn.utils.extmath"},
    "recbole.model.general_recommender.slimelastic": {"sklearn.linear_model", "sklearn.exceptions"},
    "recbole.utils.utils": {"torch.utils.tensorboard"},
}


class _StandIn:
    """A name of a module that is imported when a name of the same host is first called."""

    def __init__(self, host: ModuleType, module: str, name: str):
        self._host, self._module, self._name = host, module, name

    def original(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for name, value in list(vars(self._host).items()):
            if isinstance(value, _StandIn):
                setattr(self._host, name, value.original())
        return self.original()(*args, **kwargs)


class _LateImports(SourceFileLoader):
    """Run a module of RecBole whose `from ... import` of the table's modules give stand-ins."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code with an `__import__` that no other module sees."""
        late = {name for name in _CALLED_LATE[module.__name__] if name not in sys.modules}

        def import_(name: str, globals_: Any = None, locals_: Any = None, names: Any = (), level: int = 0) -> Any:
            if name in late and names:
                return SimpleNamespace(**{one: _StandIn(module, name, one) for one in names})
            return builtins.__import__(name, globals_, locals_, names, level)

        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
        super().exec_module(module)


class _UnloadedDynamo(ModuleType):
    """`torch._dynamo` until another name is asked for than the two that every optimizer calls.

    Outside of compiled code the two have no effect, and nothing is compiled before the module is loaded.
    """

    # The two, and what the import system and `inspect` ask of every module.
    _KNOWN = frozenset({"graph_break", "disable", "__class__", "__file__", "__loader__", "__name__", "__spec__"})

    def __getattribute__(self, name: str) -> Any:
        if name not in _UnloadedDynamo._KNOWN:
            loader: Any = self.__loader__
            loader.load(self)
            return getattr(self, name)  # of a plain module now
        return super().__getattribute__(name)


class _DynamoLoader(SourceFileLoader):
    """Import `torch._dynamo`, 1.3 s, when it is needed, as `importlib.util.LazyLoader` does."""

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its two names instead of running its code."""
        self.disabled: list[tuple[Any, ...]] = []  # functions of torch that are never compiled, with other arguments

        def disable(*args: Any, **kwargs: Any) -> Any:
            if kwargs != {"wrapping": False}:  # not called by torch itself, which marks functions with what it gets
                self.load(module)
                return vars(module)["disable"](*args, **kwargs)
            self.disabled.append(args)
            return args[0]

        vars(module).update(graph_break=lambda *args, **kwargs: None, disable=disable)
        module.__class__ = _UnloadedDynamo

    def load(self, module: ModuleType) -> None:
        """Run the module's code, and mark torch's functions with what `disable` would have given them."""
        module.__class__ = ModuleType
        del vars(module)["graph_break"], vars(module)["disable"]
        super().exec_module(module)
        for args in self.disabled:
            setattr(args[0], "__dynamo_disable", vars(module)["disable"](*args, wrapping=False))


class _OnDemand:
    """Finder of the modules that import others on demand, and of `torch._dynamo`."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Find a module of the table; None for all others."""
        loader = _LateImports if name in _CALLED_LATE else _DynamoLoader if name == "torch._dynamo" else None
        found = PathFinder.find_spec(name, path) if loader else None
        packages = {late.partition(".")[0] for late in _CALLED_LATE.get(name, ())}
        if not all(map(importlib.util.find_spec, packages)):
            return found  # whose import says what is not installed
        if loader and found and isinstance(found.loader, SourceFileLoader):
            found.loader = loader(name, found.loader.path)
        return found


def import_on_demand() -> None:
    """Let scikit-learn, TensorBoard and torch's compiler be imported only if something calls them, in a new command.

    Nothing happens in a program that has imported torch.
    """
    if "torch" not in sys.modules and not any(isinstance(finder, _OnDemand) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnDemand())
