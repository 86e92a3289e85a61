"""Shipped property files: where they lie, and that every method has one."""

import pytest

from recbole_bd.config import property_files
from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import file_or_shipped, method_yaml, properties_path
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


def test_an_installed_package_finds_its_own_files(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for name in ("bd.yaml", "model/BD-paper.yaml"):
        assert file_or_shipped(f"properties/{name}") == str(properties_path(*name.split("/")))
    file_or_shipped("./properties/bd.yaml")
    file_or_shipped("./properties/bd.yaml")
    assert caplog.text.count("properties/bd.yaml does not exist here; reading the file of this package") == 1
    assert file_or_shipped("properties/none.yaml") == "properties/none.yaml"
    assert file_or_shipped("bd.yaml") == "bd.yaml"
    (tmp_path / "properties").mkdir()
    (tmp_path / "properties" / "bd.yaml").write_text("epochs: 7")
    assert file_or_shipped("properties/bd.yaml") == "properties/bd.yaml"


def test_a_run_reads_a_shipped_file_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = BDConfig(config_file_list=["properties/model/BD-paper.yaml"], methods=METHODS)
    assert (
        shipped.as_dict()
        == BDConfig(config_file_list=[properties_path("model", "BD-paper.yaml")], methods=METHODS).as_dict()
    )
