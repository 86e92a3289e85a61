"""The site that Sphinx makes of docs/: built without a warning."""

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

# Every page that the site has; the last is made of CHANGELOG.md.
PAGES = [
    "index", "install", "quickstart", "concepts", "methods/index", "ablations", "backbones", "configuration",
    "datasets", "run-folder", "resume", "distributed", "large-catalogues", "compare", "leaderboard", "tuning",
    "loggers", "serving", "extend", "security", "recbole-compat", "performance", "results", "api/index", "changelog",
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built pages."""
    pytest.importorskip("sphinx", reason='Sphinx is not installed: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_page(site):
    assert [page for page in PAGES if not (site / f"{page}.html").is_file()] == []
