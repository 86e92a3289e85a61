"""The output of the first run in the pages: of a run with today's settings, in today's format."""

import json

import pytest

from recbole_bd.runs.hashes import run_hashes
from tests.helpers.paths import ROOT
from tests.helpers.settings import make_config


@pytest.fixture(scope="module")
def first_run():
    """The script that makes the output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield __import__("first_run")


@pytest.fixture(scope="module")
def record(first_run):
    """What it kept of its run."""
    return json.loads(first_run.RECORD.read_text())


def test_pages_show_the_output_of_the_recorded_run(first_run, record):
    for name in first_run.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert first_run.with_output(page, record) == page, f"{name} is stale: python docs/first_run.py"


def test_the_recorded_run_has_the_default_settings(record):
    assert record["status"] == "finished"
    config = make_config(dataset="ml-100k", device="cpu")
    assert run_hashes(config) == record["hashes"], "the defaults have changed: python docs/first_run.py --train"


def test_a_page_without_markers_is_refused_and_text_around_them_stays(first_run, record):
    with pytest.raises(ValueError, match="is missing"):
        first_run.with_output("<!-- first-run -->", record)
    page = first_run.with_output("before\n<!-- first-run -->\nold\n<!-- /first-run -->\nafter", record)
    assert page.startswith("before\n<!-- first-run -->\n```text\nrole ")
    assert page.endswith("```\n<!-- /first-run -->\nafter")


def test_figures_far_from_the_record_are_named(first_run, record):
    other = json.loads(json.dumps(record))
    other["student"]["distilled"]["test"]["hit@10"] += 0.01
    assert first_run.far_figures(other, record) == []
    other["student"]["distilled"]["test"]["ndcg@10"] += 0.03
    (line,) = first_run.far_figures(other, record)
    assert line.startswith("student distilled ndcg@10: ")
