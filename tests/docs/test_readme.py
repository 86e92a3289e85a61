"""README.md: short, with a link to each page; README.zh-CN.md says the same."""

import re

from tests.helpers.paths import ROOT

README, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Lines that stand in both files as they are: rows of tables and markers.
KEPT = re.compile(r"^(?:\||<!--).*$", re.M)


def test_the_readme_is_short_and_its_commands_come_early():
    assert len(README.encode()) <= 8192
    first, second = (README.index(command) for command in ("&& python3 run_bd.py\n", "run_bd.py --dataset=citeulike"))
    # A screen and a half of 40 lines.
    assert README[: max(first, second)].count("\n") < 60


def test_the_readme_links_to_every_page():
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    within = {page for page in pages if re.match(r"docs/(methods|api|notebooks)/(?!index)", page)}
    assert pages - within <= set(LINK.findall(README))


def test_the_chinese_readme_has_the_same_code_links_and_tables():
    assert FENCE.findall(CHINESE) == FENCE.findall(README)
    assert KEPT.findall(CHINESE) == KEPT.findall(README)
    other = {"README.md": "README.zh-CN.md"}
    assert [other.get(link, link) for link in LINK.findall(CHINESE)] == LINK.findall(README)
    assert CHINESE.count("\n## ") == README.count("\n## ")
