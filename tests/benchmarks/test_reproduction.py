"""The page of the published form: ranks from NDCG, the notebooks' metrics, and what is said of known runs."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import properties_path
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from tests.helpers.paths import ROOT, SHARED_DATA, needs_data


@pytest.fixture
def reproduction(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("reproduction")


def test_ranks_come_back_from_rounded_ndcg(reproduction):
    ranks = np.arange(1, 201)
    ndcg = np.round(1 / np.log2(ranks + 1), 6)
    assert np.array_equal(reproduction.ranks_of(ndcg), ranks)
    assert np.array_equal(reproduction.ranks_of(np.zeros(2)), [np.inf, np.inf])


def test_the_notebooks_metrics_are_off_by_one(reproduction):
    found = reproduction.notebook_metrics(np.array([1.0, 49, 50, np.inf]))
    assert (found["H@50"], found["Hit@50"], found["H@100"]) == (0.5, 0.75, 0.75)
    assert found["N@50"] == pytest.approx((1 / np.log2(3) + 1 / np.log2(51)) / 4)
    assert found["NDCG@50"] == pytest.approx((1 + 1 / np.log2(50) + 1 / np.log2(51)) / 4)


def run_of(seed, hits):
    """A run in which so many of ten users find their item at rank 1, by arm; the others at rank 60."""
    values = {
        f"{role}/{arm}/ndcg@200": np.where(np.arange(10) < count, 1.0, 1 / np.log2(61))
        for role in ("teacher", "student")
        for arm, count in hits.items()
    }
    return SimpleNamespace(result={"seed": seed, "timing": {"total_s": 120}}, per_user=lambda: (None, values))


def test_the_page_says_what_distillation_adds_to_the_strongest_control(reproduction):
    runs = [run_of(1, {"separate": 5, "continued": 6, "placebo": 4, "distilled": 8})]
    runs += [run_of(2, {"separate": 5, "continued": 6, "placebo": 4, "distilled": 9})]
    page = reproduction.page({"citeulike-bpr-notebook": runs, "citeulike-cdae-paper": []})
    assert "| teacher | printed | separate | continued | placebo | BD |" in page
    assert "| H@50 | 0.1152 → 0.1429 | 0.5000 ± 0.0000 | 0.6000 ± 0.0000 | 0.4000 ± 0.0000 | 0.8500 ± 0.0707 |" in page
    said = (
        "- student, gain in H@50: printed +25%, here BD +70%, continued +20%, placebo -20%; so 0.2500 ± 0.0707 (+50% of"
    )
    assert said in page
    assert "is what distillation adds to *continued*." in page
    assert "Not run yet: `python benchmarks/reproduction.py run citeulike-cdae-paper" in page
    paper = reproduction.page({"citeulike-bpr-paper": [run_of(1, {"separate": 5, "distilled": 8})]})
    assert "| H@50 |  | 0.5000 | 0.8000 |" in paper
    assert "- teacher, gain in H@50: here BD +60%." in paper


def test_every_file_to_reproduce_is_known(reproduction):
    assert sorted(reproduction.FILES) == sorted(path.stem for path in properties_path("reproduce").glob("*.yaml"))


def test_the_page_is_what_the_records_give(reproduction):
    page = ROOT / "results" / "reproduction.md"
    if not any(reproduction.all_recorded().values()):
        pytest.skip("results/reproduction/ holds no records")
    assert page.read_text() == reproduction.page(reproduction.all_recorded())


@needs_data("citeulike")
def test_the_files_give_the_runs_that_are_recorded(reproduction):
    for name, runs in reproduction.all_recorded().items():
        for run in runs:
            given = {"seed": run.result["seed"], "data_path": str(SHARED_DATA), "device": "cpu"}
            file = properties_path("reproduce", f"{name}.yaml")
            config = BDConfig(config_file_list=[file], command_line=given, methods=METHODS)
            assert run_hashes(config, run.result["schema"])["config"] == run.result["config_hash"], (
                name,
                given["seed"],
            )
