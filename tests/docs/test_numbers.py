"""Results that the pages name: each is on a page of results/."""

import re

import pytest

from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [DOCS / "results.md", DOCS / "large-catalogues.md", *sorted((DOCS / "methods").glob("*.md"))]
# Single runs of the softmax, which no board has yet.
BESIDE = {".0385", ".0449", ".0393", ".0610", ".0647", ".0597"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_are_those_of_the_records(page):
    recorded = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "results").glob("*.md"))
    named = set(re.findall(r"(?<![\d.])\.\d{4}\b", page.read_text(encoding="utf-8")))
    assert {number for number in named - BESIDE if number not in recorded} == set()
