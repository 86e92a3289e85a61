"""Boards that the tests of leaderboards share."""

import pytest

from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import write_board, write_run
from tests.helpers.browser import Browser


@pytest.fixture
def folder(tmp_path):
    write_board(tmp_path)
    return tmp_path


@pytest.fixture
def board(folder):
    return judge(build(runs_below(folder)))


@pytest.fixture
def failed_board(tmp_path):
    """A board on which nothing has finished, and whose one run failed before its data was loaded."""
    write_run(tmp_path / "failed", "DE", 1, None, ("student",), status="failed", error="no data", data={})
    return judge(build(runs_below(tmp_path / "failed")))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser that the tests of pages share; each module opens its own page."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
