"""The list of packages in pyproject.toml: what it lacks would be missing from an installed package."""

from fnmatch import fnmatch

import pytest

from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA
from tests.helpers.paths import ROOT


def folders(below: str, suffixes: tuple[str, ...]) -> set[str]:
    """Folders below one of the checkout that hold files of some kinds, as dotted names."""
    files = (path for path in (ROOT / below).rglob("*") if path.suffix in suffixes)
    return {".".join(path.parent.relative_to(ROOT).parts) for path in files}


def settings() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_folder_of_code_and_settings_is_packaged():
    expected = folders("recbole_bd", (".py", ".html", ".css", ".js"))
    expected |= {f"recbole_bd.{name}" for name in folders("properties", (".yaml",))}
    assert set(settings()["packages"]) == expected


def test_every_kind_of_file_in_the_packages_is_packaged():
    patterns = [*settings()["package-data"]["*"], "*.py"]
    files = [path for folder in ("recbole_bd", "properties") for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.name for path in files if "__pycache__" not in path.parts}
    assert {"py.typed", SETTINGS_SCHEMA, SPACE_SCHEMA, "MF.yaml"} <= names
    assert [name for name in names if not any(map(fnmatch, [name] * len(patterns), patterns))] == []
