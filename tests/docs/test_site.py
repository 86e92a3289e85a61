"""The site that Sphinx makes of docs/: built without a warning, and used in a real browser."""

import os
import subprocess
import sys

import pytest
from filelock import FileLock

from tests.helpers.browser import CHROMIUM, Browser
from tests.helpers.paths import ROOT

# Every page that the site has; the last is made of CHANGELOG.md.
PAGES = [
    "index", "install", "quickstart", "concepts", "methods/index", "ablations", "backbones", "configuration",
    "datasets", "run-folder", "resume", "distributed", "large-catalogues", "compare", "leaderboard", "tuning",
    "loggers", "serving", "extend", "security", "recbole-compat", "performance", "results", "api/index", "changelog",
    "cli", "api/running", "api/comparing", "api/extending", "api/errors",
]  # fmt: skip
HEADING = "document.querySelector('article h1').firstChild.textContent"
# The wider of what overflows and the window, in pixels.
WIDTH = "[document.documentElement.scrollWidth, window.innerWidth]"

# The addresses of what the search has found, once it says that it has finished.
FOUND = """new Promise(done => {
    const look = () => {
        const summary = document.querySelector('#search-results .search-summary');
        const links = [...document.querySelectorAll('#search-results li a')].map(link => link.pathname);
        summary && summary.textContent.includes('finished') ? done(links) : setTimeout(look, 50);
    };
    look();
})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built pages, which all processes of the tests share."""
    pytest.importorskip("sphinx", reason='Sphinx is not installed: pip install -e ".[docs]"')
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "searchindex.js").is_file():
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(folder)]
            built = subprocess.run(command, capture_output=True, text=True)
            assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with an empty profile."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_page(site):
    assert [page for page in PAGES if not (site / f"{page}.html").is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("index", "recbole_bd"),
        ("methods/bd", "BD"),
        ("configuration", "Configuration"),
        ("backbones", "Backbones"),
        ("cli", "Commands"),
        ("api/index", "Python API"),
        ("api/running", "Running and loading"),
    ],
)
def test_a_browser_shows_a_page_without_errors_and_a_phone_without_scrolling_sideways(site, browser, page, heading):
    browser.problems.clear()
    browser.open(site / f"{page}.html")
    assert browser.run(HEADING).startswith(heading)
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    content, window = browser.run(WIDTH)
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert content <= window
    assert browser.problems == []


@pytest.mark.slow
def test_the_search_finds_an_option(site, browser):
    browser.call("Page.navigate", url=f"{(site / 'search.html').as_uri()}?q=rank_precision")
    found = browser.run(FOUND)
    for page in ("large-catalogues", "configuration"):
        assert any(path.endswith(f"/{page}.html") for path in found), found
