"""Placeholders to fill in before the repository is published: CONTRIBUTING.md names every place."""

import re

from tests.helpers.paths import ROOT

# Words that stand for something to be filled in, in addresses or beside a version.
PLACEHOLDER = re.compile(r"\bOWNER/|<owner>|example\.com/|\(unreleased\)|\bTODO\b|\bFIXME\b")
FOLDERS = (".github", "docs", "properties", "recbole_bd")
KINDS = {".cff", ".ipynb", ".md", ".py", ".svg", ".toml", ".yaml", ".yml"}


def test_contributing_names_every_file_with_something_to_fill_in():
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "_build" not in path.parts]
    files = [path for path in (*ROOT.iterdir(), *inside) if path.suffix in KINDS and path.name != "CONTRIBUTING.md"]
    found = {str(path.relative_to(ROOT)) for path in files if PLACEHOLDER.search(path.read_text(encoding="utf-8"))}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Before publishing\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w./-]+\.\w+)`", section)) - {"tests/docs/test_placeholders.py"}
    assert named == found
