"""Classes of the user's own by entry point and by module."""

import sys

import pytest
import torch

from recbole_bd.errors import ConfigError, InstallationError
from recbole_bd.system.own_classes import (
    BACKBONES,
    METRICS,
    identity_of,
    import_name,
    is_import_name,
    offered_classes,
    option_files,
    own_class,
    short_name,
    source_of,
)
from tests.helpers.own_classes import BiasMF, FirstHit
from tests.helpers.paths import ROOT


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Install a package `toys` with these entry points of backbones."""

    def install(code: str = "class Toy: pass", *points: str):
        info = tmp_path / "toys-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{BACKBONES}]", *points, ""]))
        (tmp_path / "toys.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path

    monkeypatch.delitem(sys.modules, "toys", raising=False)
    yield install
    sys.modules.pop("toys", None)


@pytest.mark.parametrize("name", ["a:B", "a.b:C", "a_1.b:C.D", "ä:Ö"])
def test_names_of_classes(name):
    assert is_import_name(name)


@pytest.mark.parametrize("name", ["BPR", "a:", ":B", "a:b:C", "a.:C", "a/b:C", "../a:C", "a b:C", "1a:C", "", None, 3])
def test_other_names(name):
    assert not is_import_name(name)


@pytest.mark.parametrize("was_on", [False, True])
def test_a_module_does_not_change_anomaly_detection(was_on, toys):
    """RecBole's sequential models turn it on when they are imported."""
    toys(f"import torch\ntorch.autograd.set_detect_anomaly({not was_on})\nclass Toy: pass\n")
    with torch.autograd.set_detect_anomaly(was_on):
        assert own_class("toys:Toy", BACKBONES).__name__ == "Toy"
        assert torch.is_anomaly_enabled() is was_on


def test_a_class_is_named_as_it_is_imported():
    assert import_name(BiasMF) == "tests.helpers.own_classes:BiasMF"
    assert own_class(import_name(BiasMF), BACKBONES) is BiasMF
    assert short_name(import_name(BiasMF)) == "BiasMF"
    assert short_name("BPR") == "BPR"
    assert own_class("BPR", BACKBONES) is None


def test_a_class_that_no_other_process_finds_is_refused():
    class Local:
        pass

    with pytest.raises(ConfigError) as error:
        import_name(Local)
    assert str(error.value) == (
        "test_a_class_that_no_other_process_finds_is_refused.<locals>.Local of tests.system.test_own_classes cannot be "
        "imported by its name. Move it to the top level of a module of its own, such as my_models.py, and import it "
        "from there"
    )
    script = type("Script", (), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match=r"^Script is defined in __main__, where no other process finds it\. Move it"):
        import_name(script)
    shadowed = type("BiasMF", (), {"__module__": BiasMF.__module__})
    with pytest.raises(ConfigError, match="cannot be imported by its name"):
        import_name(shadowed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Toy", "nowhere:Toy cannot be imported: No module named 'nowhere'. Install it, or put its folder on "
         "PYTHONPATH"),
        ("toys:Gone", "toys:Gone cannot be imported: AttributeError: module 'toys' has no attribute 'Gone'"),
        ("toys:count", "toys:count is not a class"),
        ("os:system", "os:system is not a class"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_had_is_one_line(name, message, toys):
    toys("class Toy: pass\ncount = 1\n")
    with pytest.raises(ConfigError) as error:
        own_class(name, BACKBONES)
    assert str(error.value) == message


def test_a_module_that_breaks_is_one_line(toys):
    toys("1 / 0")
    with pytest.raises(ConfigError, match=r"^toys:Toy cannot be imported: ZeroDivisionError: division by zero$"):
        own_class("toys:Toy", BACKBONES)


def test_entry_points_are_listed_without_import(toys):
    toys("class Toy: pass", "Toy = toys:Toy", "Gone = toys:Gone")
    assert offered_classes(BACKBONES)["Toy"].value == "toys:Toy"
    assert "Toy" not in offered_classes(METRICS)
    assert "toys" not in sys.modules
    assert own_class("Toy", BACKBONES).__name__ == "Toy"
    with pytest.raises(InstallationError) as error:
        own_class("Gone", BACKBONES)
    assert str(error.value) == (
        "entry point recbole_bd.backbones: Gone = toys:Gone cannot be imported: AttributeError: module 'toys' has no "
        "attribute 'Gone'"
    )


def test_options_lie_beside_the_module():
    assert option_files([BiasMF, FirstHit]) == [ROOT / "tests" / "helpers" / "BiasMF.yaml"]


def test_an_identity_is_name_and_source(toys):
    folder = toys()
    kind = own_class("toys:Toy", BACKBONES)
    (before,) = identity_of([kind])
    assert before.startswith("toys:Toy ")
    (folder / "toys.py").write_text("class Toy: value = 2")
    del sys.modules["toys"]
    (after,) = identity_of([own_class("toys:Toy", BACKBONES)])
    assert before != after
    assert source_of(int) == ""
