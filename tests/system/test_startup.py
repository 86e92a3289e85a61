"""Imports at the start of a command."""

import gc
from contextlib import suppress

import pytest

from recbole_bd.system import startup
from recbole_bd.system.startup import quick_imports


@pytest.fixture(autouse=True)
def _collecting():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("is_fresh", [True, False])
def test_nothing_is_collected_and_only_a_new_process_keeps_its_objects(is_fresh, monkeypatch):
    monkeypatch.setattr(startup, "_IS_FRESH", is_fresh)
    before = gc.get_freeze_count()  # of the interpreter itself
    collecting = []
    with suppress(ImportError), quick_imports():
        collecting.append(gc.isenabled())
        raise ImportError
    assert [*collecting, gc.isenabled()] == [False, True]
    assert (gc.get_freeze_count() > before + 1000) == is_fresh


def test_a_program_with_torch_is_not_fresh():
    assert not startup._IS_FRESH


def test_a_program_without_collection_stays_without():
    gc.disable()
    with quick_imports():
        pass
    assert not gc.isenabled()
