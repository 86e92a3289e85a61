"""The house's rules, read from the source: which module may know which, and what no file may do."""

import ast
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "recbole_bd"
# Data goes one way: a package knows only those of lower floors, and itself.
BLOCKS = [
    ["errors"],
    ["compat", "system"],
    ["data", "backbones", "sampler"],
    ["config", "model", "evaluator"],
    ["trainer"],
    ["runs"],
    ["leaderboard", "serving", "testing", "tuning"],
    ["cli"],
    ["__main__"],
]
BLOCK_OF = {name: number for number, block in enumerate(BLOCKS) for name in block}
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def public_definitions(parent: ast.AST, prefix: str = ""):
    """Classes, functions and methods without an underscore in front of any name of theirs, by dotted name.

    What is defined inside a function is its own affair; what stands under a condition is public all the same.
    """
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from public_definitions(node, prefix)
        elif not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node, f"{prefix}{node.name}.")


def unannotated(function: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> list[str]:
    """Names of the parameters without annotation, but for a method's first one, and `return` likewise."""
    given = function.args
    named = [*given.posonlyargs, *given.args]
    is_static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    if is_method and not is_static:
        assert named[0].arg in ("self", "cls")
        del named[0]
    named += [*given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [one.arg for one in named if one.annotation is None] + ["return"] * (function.returns is None)


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import in line {node.lineno}"
            if node.module == "recbole_bd":
                yield from ((alias.name, node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way_and_never_to_ray(path):
    for name, line in imported(path):
        assert name.split(".")[0] != "ray", f"{path}:{line}"
        assert not name.startswith("recbole.quick_start"), f"{path}:{line}"
        if name.split(".")[0] == "recbole_bd":
            name = name.split(".", 1)[1]
        target = name.split(".")[0]
        if target in BLOCK_OF and module_name(path) in BLOCK_OF:
            assert BLOCK_OF[target] <= BLOCK_OF[module_name(path)], f"{path}:{line} imports {target} from a later block"


def test_every_module_is_in_a_block():
    assert {module_name(path) for path in MODULES} - {"__init__"} == set(BLOCK_OF)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_habits(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    assert ".cuda()" not in text
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}:{node.lineno} bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"
            assert node.func.id != "print" or module_name(path) in ("cli", "__main__"), f"{path}:{node.lineno} prints"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_public_is_described_and_annotated(path):
    for name, node in public_definitions(ast.parse(path.read_text())):
        assert ast.get_docstring(node), f"{path}:{node.lineno} {name} has no docstring"
        if not isinstance(node, ast.ClassDef):
            missing = unannotated(node, is_method="." in name)
            assert not missing, f"{path}:{node.lineno} {name} lacks annotations: {', '.join(missing)}"


def test_the_search_finds_what_is_public():
    source = """
if True:
    class Shown:
        def method(self, one, *more, last: int, **named): ...
        @staticmethod
        async def static(one: int) -> int: ...
        def _hidden(self): ...
        class Inner: ...
class _Hidden:
    def method(self): ...
def function(one: int, /, two: int):
    def local(): ...
"""
    found = dict(public_definitions(ast.parse(source)))
    assert list(found) == ["Shown", "Shown.method", "Shown.static", "Shown.Inner", "function"]
    assert unannotated(found["Shown.method"], is_method=True) == ["one", "more", "named", "return"]
    assert unannotated(found["Shown.static"], is_method=True) == []
    assert unannotated(found["function"], is_method=False) == ["return"]
