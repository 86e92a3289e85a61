"""Rows that are computed together, for each kind of device."""

import ast

import pytest
import torch

from recbole_bd.system.block_sizes import rows_at_once
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("device", "width", "rows"), [("cpu", 10, 10), ("cpu", 101, 1), ("cpu", 0, 100), ("cuda", 10, 60), ("mps", 7, 85)]
)
def test_rows_have_as_many_numbers_as_the_device_takes(device, width, rows):
    assert rows_at_once({"cpu": 100, "cuda": 600}, torch.device(device), width) == rows


def test_no_module_chooses_among_such_numbers_by_itself():
    """No `table.get(device.type, table["cuda"])`, and no subscript by "cuda", elsewhere."""
    found = []
    for path in sorted((ROOT / "recbole_bd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_cuda = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
            if is_cuda and node.slice.value == "cuda" and isinstance(node.value, ast.Name):
                found.append((path.name, node.value.id))
    assert {name for name in found if name[1] not in ("state", "before")} == {("block_sizes.py", "numbers")}
