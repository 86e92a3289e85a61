"""What pyproject.toml promises: packages, Python versions, requirements; and the commands that install."""

import importlib.metadata
import re
import sys
from fnmatch import fnmatch
from typing import Any

import pytest

from recbole_bd.compat import INSTALL_RECBOLE
from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA
from tests.helpers.paths import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def settings() -> dict[str, Any]:
    """The content of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders(below: str, suffixes: tuple[str, ...]) -> set[str]:
    """Folders below one of the checkout that hold files of some kinds, as dotted names."""
    files = (path for path in (ROOT / below).rglob("*") if path.suffix in suffixes)
    return {".".join(path.parent.relative_to(ROOT).parts) for path in files}


def name_and_bounds(requirement: str) -> tuple[str, set[str]]:
    """A requirement's name and its bounds, of whatever order: `ray (<=2.6.3,>=1.13.0)`, `torch>=2,<3`."""
    name, bounds = re.match(r"([\w.-]+) *\(?([^;)]*)", requirement).groups()
    return name, {bound.strip() for bound in bounds.split(",") if bound.strip()}


def test_every_folder_of_code_and_settings_is_packaged():
    expected = folders("recbole_bd", (".py", ".html", ".css", ".js"))
    expected |= {f"recbole_bd.{name}" for name in folders("properties", (".yaml",))}
    assert set(settings()["tool"]["setuptools"]["packages"]) == expected


def test_every_kind_of_file_in_the_packages_is_packaged():
    patterns = [*settings()["tool"]["setuptools"]["package-data"]["*"], "*.py"]
    files = [path for folder in ("recbole_bd", "properties") for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.name for path in files if "__pycache__" not in path.parts}
    assert {"py.typed", SETTINGS_SCHEMA, SPACE_SCHEMA, "MF.yaml"} <= names
    assert [name for name in names if not any(map(fnmatch, [name] * len(patterns), patterns))] == []


def test_recboles_requirements_are_met_without_its_own_list():
    """With `--no-deps`, RecBole brings nothing: what it requires must be listed here, all but ray."""
    ours = dict(map(name_and_bounds, settings()["project"]["dependencies"]))
    hosts = [text for text in importlib.metadata.requires("recbole") if "extra ==" not in text]
    hosts = dict(map(name_and_bounds, hosts))
    assert hosts.keys() - ours.keys() == {"ray"}
    pinned = {name: bounds for name, bounds in hosts.items() if any(bound.startswith("==") for bound in bounds)}
    assert pinned == {name: ours[name] for name in pinned}


def test_classifiers_name_the_versions_that_are_required():
    project = settings()["project"]
    first, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())
    named = {re.sub(r".* ", "", line) for line in project["classifiers"] if ":: 3." in line}
    assert named == {f"3.{minor}" for minor in range(first, end)}
    assert first <= sys.version_info.minor < end


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_install_this_package_install_recbole_on_every_python(page):
    """Commands of several words after `pip install` that begin with a torch version set up a clone."""
    commands = [line for line in page.read_text().replace("\\\n", "").splitlines() if 'pip install "torch==' in line]
    assert [line for line in commands if INSTALL_RECBOLE not in line] == []


def test_the_command_that_is_tried_on_every_python_is_the_first_of_the_page():
    """`.ci/new_user` reads it from the page: the first line that installs the package and runs it."""
    pattern = re.search(r"first=\$\(grep -m 1 '(.*)' README\.md\)", (ROOT / ".ci/new_user").read_text())[1]
    lines = (ROOT / "README.md").read_text().splitlines()
    assert any(re.search(pattern, line) for line in lines)
