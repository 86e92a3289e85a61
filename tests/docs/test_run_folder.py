"""Page of the run folder: every file and every key of a run is on it."""

import json
import re
from pathlib import Path

from recbole_bd.runs.progress import MAY_CHANGE
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"


def coded(page: str) -> set[str]:
    """The words that a page sets in code."""
    return set(re.findall(r"`([^`\n]+)`", (DOCS / page).read_text(encoding="utf-8")))


def test_every_file_and_key_of_a_run_is_on_the_page(trained_run):
    folder = Path(trained_run)
    told = {word.rstrip("/") for word in coded("run-folder.md")}
    files = {path.name for path in folder.iterdir()}
    assert files - told == set()
    result = json.loads((folder / "result.json").read_text())
    inner = ["data", "complementarity", "student_wins", "timing", "hashes", "student"]
    keys = {*result, *(key for name in inner for key in result[name])}
    assert keys - told == set()
    assert {key for one in result["warnings"] for key in one} - told == set()


def test_settings_that_may_change_on_resume_are_on_their_page():
    assert set(MAY_CHANGE) - coded("resume.md") == set()
