"""Methods of other packages, found by their entry points."""

import sys
from importlib.metadata import EntryPoint

import pytest

from recbole_bd.errors import InstallationError
from recbole_bd.system import method_plugins
from recbole_bd.system.method_plugins import load_methods, offered_methods, options_beside


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package `toys` with a module of the same name and these entry points."""

    def install(*points: str, code: str = "class Toy: pass"):
        info = tmp_path / "toys-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[recbole_bd.methods]", *points, ""]))
        (tmp_path / "toys.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    monkeypatch.delitem(sys.modules, "toys", raising=False)
    yield install
    sys.modules.pop("toys", None)


def test_methods_are_loaded_in_the_order_of_their_names(installed):
    installed("Zebra = toys:Zebra", "Ant = toys:Ant", code="class Ant: pass\nclass Zebra: pass")
    loaded = load_methods({"BD"})
    assert [(name, kind.__module__, kind.__name__) for name, kind in loaded.items()] == [
        ("Ant", "toys", "Ant"),
        ("Zebra", "toys", "Zebra"),
    ]
    assert offered_methods()["Ant"].value == "toys:Ant"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("Toy = nowhere:Toy", "cannot be imported"),
        ("BD = toys:Toy", "BD = toys:Toy has the name of a method of recbole-bd"),
    ],
)
def test_a_method_that_cannot_be_had_is_one_line(point, message, installed):
    installed(point)
    with pytest.raises(InstallationError, match=message) as error:
        load_methods({"BD"})
    assert "\n" not in str(error.value)


def test_a_class_that_its_module_lacks_is_named(installed):
    installed("Toy = toys:Toy", code="")
    with pytest.raises(InstallationError) as error:
        load_methods(())
    assert str(error.value) == (
        "entry point recbole_bd.methods: Toy = toys:Toy cannot be imported: module 'toys' has no attribute 'Toy'"
    )


def test_options_lie_beside_the_module_of_their_method(installed, tmp_path):
    installed("Toy = toys:Toy")
    assert options_beside("Toy") == tmp_path / "Toy.yaml"
    assert options_beside("Other") is None


def test_a_module_that_is_not_there_has_no_options(monkeypatch):
    point = EntryPoint("Toy", "nowhere_at_all:Toy", method_plugins.GROUP)
    monkeypatch.setattr(method_plugins, "entry_points", lambda group: [point] * (group == "recbole_bd.methods"))
    assert options_beside("Toy") is None
