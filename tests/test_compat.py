import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_bd import compat
from recbole_bd.errors import InstallationError
from tests.helpers.measured import MEASURED
from tests.helpers.paths import ROOT


def test_numpy_names_are_given_back_and_only_those_missing(monkeypatch):
    for name in ("float_", "complex_", "unicode_"):
        monkeypatch.delattr(np, name, raising=False)
    assert compat.restore_numpy_names()
    assert (np.float_, np.complex_, np.unicode_) == (np.float64, np.complex128, np.str_)
    monkeypatch.setattr(np, "float_", "kept", raising=False)
    assert not compat.restore_numpy_names()
    assert np.float_ == "kept"


@pytest.mark.skipif(
    getattr(sp.dok_matrix, "_update", compat.restore_dok_update).__module__ != compat.__name__,
    reason="this SciPy still has dok_matrix._update",
)
def test_dok_update_fills_a_matrix_and_is_left_alone_where_it_works(monkeypatch):
    monkeypatch.delattr(sp.dok_matrix, "_update", raising=False)
    assert compat.restore_dok_update()
    matrix = sp.dok_matrix((2, 3), dtype=np.float32)
    matrix._update({(0, 1): 2.0, (1, 2): 3.0})
    assert matrix.tocsr().toarray().tolist() == [[0, 2, 0], [0, 0, 3]]
    original = sp.dok_matrix._update
    assert not compat.restore_dok_update()
    assert sp.dok_matrix._update is original


def test_pandas_3_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.0.1")
    with pytest.raises(InstallationError, match="pip install 'pandas<3'"):
        compat.require_pandas_below_3()


def test_missing_recbole_names_the_one_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"pip install --no-deps recbole==1\.2\.1"):
        compat.require_recbole()


def test_the_program_says_it_in_one_line(monkeypatch, capsys):
    from recbole_bd.__main__ import main

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("recbole-bd: error: RecBole is not installed")
    assert line.endswith(compat.INSTALL_RECBOLE)
    with pytest.raises(InstallationError, match="RecBole is not installed"):
        from recbole_bd import run_bd  # noqa: F401


def test_ray_and_quick_start_are_never_imported():
    code = "import sys, recbole_bd.cli; print(sorted(m for m in sys.modules if m in ('ray', 'recbole.quick_start')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_missing_values_are_filled_by_recbole_on_this_stack(tmp_path, monkeypatch):
    from recbole.data.dataset import Dataset

    from tests.helpers.data import write_inter
    from tests.helpers.settings import make_config

    pairs = [("a", "x", "1"), ("a", "y", ""), ("b", "x", "3"), ("b", "y", "5")]
    write_inter(tmp_path, "gaps", pairs, header="user_id:token\titem_id:token\trating:float")
    config = make_config(
        dataset="gaps", data_path=str(tmp_path), load_col={"inter": ["user_id", "item_id", "rating"]}, topk=[1],
        valid_metric="MRR@1",
    )  # fmt: skip
    ratings = Dataset(config).inter_feat["rating"].to_numpy()
    assert not np.isnan(ratings).any()
    assert ratings.tolist() == [1, 3, 3, 5]  # RecBole fills with the column's mean


# --- the only file that patches anything ------------------------------------------------------------------------------
PACKAGE = ROOT / "recbole_bd"
# The worker's output is its channel to the study; what libraries print goes to the log.
ALLOWED = {("tuning/worker.py", "sys.stdout")}
PASSING = {
    "zip",
    "enumerate",
    "list",
    "tuple",
    "set",
    "dict",
    "reversed",
    "sorted",
    "iter",
    "next",
    "import_module",
    "items",
}


def children(node: ast.AST, kind: type | tuple):
    return (child for child in ast.walk(node) if isinstance(child, kind))


class Patches:
    """Assignments to attributes of foreign modules and classes in one source, by line, read without running it.

    A name stands for such a module or class where it is imported, or is assigned or looped from such a name, also out
    of a tuple, a list or a dictionary, or from `import_module`.
    """

    def __init__(self, source: str):
        self.tree = ast.parse(source)
        self.foreign: set[str] = set()
        for node in children(self.tree, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if (getattr(node, "module", None) or alias.name).split(".")[0] != "recbole_bd":
                    self.foreign.add(alias.asname or alias.name.split(".")[0])
        size = -1
        while size != len(self.foreign):
            size = len(self.foreign)
            for targets, value in self._bindings():
                if self.is_foreign(value):
                    self.foreign |= {name.id for target in targets for name in children(target, ast.Name)
                                     if isinstance(name.ctx, ast.Store)}  # fmt: skip

    def _bindings(self):
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                yield node.targets, node.value
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
                yield [node.target], node.value
            elif isinstance(node, ast.For | ast.comprehension):
                yield [node.target], node.iter

    def is_foreign(self, node: ast.AST) -> bool:
        """Return whether an expression gives a foreign module or class, or a container of them."""
        match node:
            case ast.Name(id=name):
                return name in self.foreign
            case ast.Attribute(value=value) | ast.Starred(value=value) | ast.Subscript(value=value):
                return self.is_foreign(value)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
                values = node.values if isinstance(node, ast.Dict) else []
                return any(self.is_foreign(part) for part in [*parts, *values] if part)
            case ast.Call(func=ast.Attribute(attr="import_module")):
                return True
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in PASSING:
                return self.is_foreign(value)
            case ast.Call(func=ast.Name(id=name)) if name in PASSING:
                return name == "import_module" or any(map(self.is_foreign, node.args))
        return False

    def _is_namespace(self, node: ast.AST) -> bool:
        match node:
            case ast.Attribute(value=value, attr="__dict__"):
                return self.is_foreign(value)
            case ast.Call(func=ast.Name(id="vars"), args=[value]):
                return self.is_foreign(value)
        return False

    def __iter__(self):
        for node in ast.walk(self.tree):
            match node:
                case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()) if self.is_foreign(value):
                    yield node.lineno, ast.unparse(node)
                case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()) if self._is_namespace(value):
                    yield node.lineno, ast.unparse(node)
                case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[value, *_]) if self.is_foreign(value):
                    yield node.lineno, ast.unparse(node)
                case ast.Call(func=ast.Attribute(value=value, attr="update" | "setdefault" | "pop")):
                    if self._is_namespace(value):
                        yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_file_patches_a_module_or_class(path):
    name = path.relative_to(PACKAGE).as_posix()
    found = [(line, code) for line, code in Patches(path.read_text()) if (name, code) not in ALLOWED]
    assert bool(found) == (name == "compat.py"), found


def test_the_search_finds_patches():
    source = """
import importlib
import numpy as np
import torch.nn.functional
from scipy.sparse import dok_matrix
from recbole_bd import own
def loop(model):
    for module, reader in ((torch, 1), (np, 2)):
        module.load = reader
    host = importlib.import_module("recbole.trainer.trainer")
    host.name, own.name, model.name = 1, 2, 3
np.float_ = 1
setattr(np, "float_", 1)
del torch.nn.functional.relu
dok_matrix._update = 1
dok_matrix.__dict__["_update"] = 1
vars(torch).update(load=1)
made = torch.zeros(1)
made.name = 1
torch.load.count += 1
"""
    assert sorted(line for line, _ in Patches(source)) == [9, 11, 12, 13, 14, 15, 16, 17, 20]


def test_files_that_compat_names_exist():
    named = re.findall(r"\b[a-z_/]+\.py\b", compat.__doc__)
    assert len(named) > 5
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


def test_the_package_is_imported_without_recbole_and_torch():
    code = "import sys, recbole_bd; print(sorted({'recbole', 'torch', 'filelock'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_module_imports_what_windows_lacks():
    """Top-level imports only: a function may import such a module behind a check of the platform."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        inner = {id(node) for function in children(tree, ast.FunctionDef) for node in ast.walk(function)}
        for node in children(tree, (ast.Import, ast.ImportFrom)):
            names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
            assert id(node) in inner or not names & {"fcntl", "resource", "termios", "pwd", "grp"}, path


# What a command does not import before something calls it.
ON_DEMAND = """
import sys
from recbole_bd.system.startup import quick_imports
with quick_imports():
    import recbole.model.general_recommender, recbole.evaluator, recbole.utils, torch
    from recbole.evaluator import metrics
    from recbole.model.general_recommender import slimelastic, nceplrec

def imported():
    names = ("sklearn", "scipy.stats", "torch.utils.tensorboard", "torch._dynamo.eval_frame")
    return [name for name in names if name in sys.modules]

layer = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(layer.parameters())
optimizer.zero_grad()
layer(torch.ones(3, 2)).sum().backward()
before = layer.weight.detach().clone()
optimizer.step()
assert imported() == [] and not torch.equal(before, layer.weight)
assert sys.modules["torch._dynamo"].__file__.endswith("__init__.py") and imported() == []

assert metrics.mean_absolute_error([1, 2], [1, 4]) == 1
import sklearn.metrics
assert (metrics.sk_auc, metrics.mean_squared_error) == (sklearn.metrics.auc, sklearn.metrics.mean_squared_error)
assert metrics.sk_auc([0, 1], [0, 1]) == 0.5
slimelastic.ElasticNet(alpha=1.0)
import sklearn.exceptions, sklearn.linear_model
assert slimelastic.ElasticNet is sklearn.linear_model.ElasticNet
assert slimelastic.ConvergenceWarning is sklearn.exceptions.ConvergenceWarning
assert nceplrec.randomized_svd([[2.0, 0.0], [0.0, 1.0]], n_components=1, random_state=0)[1].round(6) == 2

mark = torch.optim.Optimizer.zero_grad.__wrapped__
assert mark.__dynamo_disable is mark and "torch._dynamo.eval_frame" not in imported()
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
assert "torch._dynamo.eval_frame" in imported() and type(torch._dynamo) is type(sys)
assert mark.__dynamo_disable is not mark
optimizer.step()
optimizer.zero_grad()
"""


@pytest.mark.slow
def test_a_command_imports_on_demand_what_recbole_and_torch_seldom_call():
    command = [sys.executable, "-W", "ignore", "-c", ON_DEMAND]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **MEASURED})
    assert found.returncode == 0, found.stderr


USES = {
    "a name": lambda module: module.config,
    "a submodule": lambda module: module.__path__,
    "a user's function": lambda module: module.disable(print),
    "a user's decorator": lambda module: module.disable(recursive=False),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_compiler_is_loaded_by_any_use_but_that_of_optimizers(use, tmp_path):
    (tmp_path / "__init__.py").write_text(
        "config = 1\ndef graph_break(): return 'broken'\ndef disable(*args, **more): return ('disabled', *args)\n"
    )
    path = str(tmp_path / "__init__.py")
    spec = importlib.util.spec_from_file_location("compiler", path, loader=compat._DynamoLoader("compiler", path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def function():
        pass

    assert (module.graph_break(), module.disable(function, True, wrapping=False)) == (None, function)
    assert type(module) is compat._UnloadedDynamo
    use(module)
    assert type(module) is type(sys)
    assert module.config == 1
    assert module.graph_break() == "broken"
    assert getattr(function, "__dynamo_disable") == ("disabled", function, True)
    assert module.disable(function) == ("disabled", function)


def test_what_is_not_installed_is_reported_when_recbole_imports_it(monkeypatch):
    import recbole.evaluator

    finder, path = compat._OnDemand(), recbole.evaluator.__path__
    assert isinstance(finder.find_spec("recbole.evaluator.metrics", path).loader, compat._LateImports)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not isinstance(finder.find_spec("recbole.evaluator.metrics", path).loader, compat._LateImports)


def test_a_program_with_torch_imports_as_before():
    before = list(sys.meta_path)
    compat.import_on_demand()
    assert sys.meta_path == before
