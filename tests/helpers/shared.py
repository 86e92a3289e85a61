"""What several tests need is made once, also where pytest-xdist runs them in several processes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Plain data that a function returns; the process that asks first calls it, others wait and read.

    Args:
        factory: the fixture `tmp_path_factory`.
        name: of the folder in which the function works; the same in all processes of the tests.
        make: is given the folder, empty, and returns what JSON can hold.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        path = folder / "made.json"
        if not path.exists():
            (folder / "work").mkdir(parents=True)
            path.write_text(json.dumps(make(folder / "work")))
        return json.loads(path.read_text())
