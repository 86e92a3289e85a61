"""The table of methods: names without an import, classes when they are used."""

import pytest

import recbole_bd.model
from recbole_bd.model import METHODS, method_names
from recbole_bd.model.base import Distiller
from recbole_bd.model.bd import BD


def test_names_and_classes_agree():
    assert method_names() == list(METHODS)
    assert METHODS["BD"] is recbole_bd.model.BD is BD
    assert recbole_bd.model.Distiller is Distiller
    assert all(issubclass(kind, Distiller) and kind.__name__ == name for name, kind in METHODS.items())


def test_a_method_of_another_package_comes_last_and_once(monkeypatch):
    monkeypatch.setattr(recbole_bd.model, "offered_methods", lambda: {"Ant": None, "BD": None})
    assert method_names() == [*METHODS, "Ant"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = recbole_bd.model.Nothing
