"""The names that `import recbole_bd` offers, each imported when it is first used."""

import ast
import importlib
import subprocess
import sys

import pytest

import recbole_bd
from tests.helpers.paths import ROOT

WITHOUT_TORCH = {
    "BDError": "recbole_bd.errors", "compare": "recbole_bd.evaluator.significance",
    "compare_crossed": "recbole_bd.evaluator.crossed",
    "holm": "recbole_bd.evaluator.significance", "paired": "recbole_bd.runs.per_user",
    "per_user": "recbole_bd.runs.per_user",
}  # fmt: skip
WITH_RECBOLE = {
    "Distiller": "recbole_bd.model.base", "load_data_and_model": "recbole_bd.runs.trained_model",
    "run_bd": "recbole_bd.runs.pipeline",
}  # fmt: skip


def test_every_public_name_resolves_to_the_object_of_its_module():
    assert set(recbole_bd.__all__) == {"__version__", *WITHOUT_TORCH, *WITH_RECBOLE}
    assert set(recbole_bd.__all__) <= set(dir(recbole_bd))
    for name, module in {**WITHOUT_TORCH, **WITH_RECBOLE}.items():
        assert getattr(recbole_bd, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        recbole_bd.nothing  # noqa: B018


def test_statistics_come_without_torch_and_recbole():
    code = (
        f"import sys\nfrom recbole_bd import {', '.join(WITHOUT_TORCH)}\n"
        "assert callable(compare) and callable(holm) and callable(paired) and callable(per_user)\n"
        "print(sorted({'torch', 'recbole'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_checker_of_types_sees_every_public_name():
    """`mypy` of the continuous integration checks the file that uses them."""
    tree = ast.parse((ROOT / "recbole_bd" / "__init__.py").read_text())
    checked = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = (ROOT / "tests" / "helpers" / "public_types.py").read_text()
    for name in {*WITHOUT_TORCH, *WITH_RECBOLE}:
        assert name in checked
        assert f"{name}(" in used or f"({name})" in used
    assert (ROOT / "recbole_bd" / "py.typed").is_file()
