"""Imports at the start of a command."""

import gc
import sys
from contextlib import suppress

import pytest

from recbole_bd.system.startup import quick_imports


@pytest.fixture(autouse=True)
def _collecting():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_while_torch_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    gc.unfreeze()
    collecting = []
    with suppress(ImportError), quick_imports():
        collecting.append(gc.isenabled())
        raise ImportError
    assert [*collecting, gc.isenabled()] == [False, True]
    assert gc.get_freeze_count() > 1000


def test_a_program_that_has_torch_keeps_its_objects():
    gc.unfreeze()
    before = gc.get_freeze_count()
    with quick_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_a_program_without_collection_stays_without(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    gc.disable()
    with quick_imports():
        pass
    assert not gc.isenabled()
