"""The repository's pages: files and headings that links name are there, and rows stand in a table."""

import re

import pytest

from tests.helpers.paths import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("results/*.md"), ROOT / "benchmarks/README.md"]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)|\b(?:src|srcset|href)=\"([^\"]+)\"")


def text_of(page) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^(`{3,}).*?^\1\s*$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page) -> set[str]:
    """The anchors that GitHub and MyST give to a page's headings, and those that `(name)=` sets."""
    text = text_of(page)
    headings = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ +(.+?)\s*$", text, re.M)]
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for match in LINK.finditer(text_of(page)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_stand_in_a_table(page):
    """A blank line in a table ends it: the rows after it are shown as text."""
    blocks = re.findall(r"(?:^\|.*\n?)+", text_of(page), re.M)
    assert [block for block in blocks if not re.match(r".*\n\|[\s:|-]+\n", block)] == []
