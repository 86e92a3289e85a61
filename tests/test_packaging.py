"""The list of packages in pyproject.toml: what it lacks would be missing from an installed package."""

import pytest

from tests.helpers.paths import ROOT


def folders(below: str, suffixes: tuple[str, ...]) -> set[str]:
    """Folders below one of the checkout that hold files of some kinds, as dotted names."""
    files = (path for path in (ROOT / below).rglob("*") if path.suffix in suffixes)
    return {".".join(path.parent.relative_to(ROOT).parts) for path in files}


def test_every_folder_of_code_and_settings_is_packaged():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = folders("recbole_bd", (".py", ".html", ".css", ".js"))
    expected |= {f"recbole_bd.{name}" for name in folders("properties", (".yaml",))}
    assert set(settings["packages"]) == expected
