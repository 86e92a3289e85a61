"""Shipped property files: where they lie, and that every method has one."""

import pytest

from recbole_bd.config import property_files
from recbole_bd.config.property_files import method_yaml, properties_path
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS


def test_options_lie_inside_the_package_or_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "recbole_bd"
    monkeypatch.setattr(property_files, "__file__", str(package / "config" / "property_files.py"))
    with pytest.raises(ConfigError) as error:
        properties_path("overall.yaml")
    assert str(error.value) == f"properties/ is missing beside {package}: reinstall recbole-bd"
    for folder in (tmp_path / "properties", package / "properties"):  # the one inside goes first
        folder.mkdir(parents=True)
        (folder / "overall.yaml").write_text("")
        assert properties_path("model", "BD.yaml") == folder / "model" / "BD.yaml"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_file(method):
    assert method_yaml(method) == properties_path("model", f"{method}.yaml")
    assert method_yaml(method).is_file()
