"""Tables of controls: what their page shows of known runs, and that every row is a run with settings of its own."""

import importlib
from types import SimpleNamespace

import pytest

from recbole_bd.runs.hashes import run_hashes
from tests.helpers.paths import ROOT, SHARED_DATA


@pytest.fixture
def controls(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("controls")


def test_every_row_is_another_run_and_seeds_share_nothing_but_settings(controls):
    for table, plan in controls.PLAN["tables"].items():
        hashes = [run_hashes(controls.config_of(table, row, 2020), 2) for row in plan["rows"]]
        assert len({of["config"] for of in hashes}) == len(hashes), table
        if plan["role"] != "model":
            assert len({of["teacher"] for of in hashes}) == 1, table  # all rows start from one warm-up
        other = run_hashes(controls.config_of(table, next(iter(plan["rows"])), 2021), 2)
        assert other["settings"] == hashes[0]["settings"], table


def test_the_options_of_a_row_give_the_runs_that_are_recorded(controls):
    shared = sorted(path.name for path in SHARED_DATA.glob("*")) if SHARED_DATA.is_dir() else []
    tables = [name for name, plan in controls.PLAN["tables"].items() if plan["settings"]["dataset"] in shared]
    if not tables:
        pytest.skip(f"no real data at {SHARED_DATA}")
    for table in tables:
        for run in controls.recorded(controls.records_of(table)):
            row, seed = controls.label_and_seed(run)
            config = controls.config_of(table, row, seed, {"data_path": str(SHARED_DATA)})
            assert run_hashes(config, run.result["schema"])["config"] == run.result["config_hash"], (table, row, seed)


def arm(valid, test, epoch=3):
    return {"valid": {"m@1": valid}, "test": {"m@1": test}, "best_epoch": epoch}


def test_the_page_shows_rows_with_every_seed_and_the_arms_without_a_target(controls, monkeypatch):
    plan = {
        "title": "A table", "about": "Rows.", "role": "teacher", "metrics": ["m@1"], "settings": {"model": "BD"},
        "rows": {"first": {"controls": ["continued"]}, "second": {"guide": "constant"}, "third": {"guide": "self"}},
    }  # fmt: skip
    runs = [
        SimpleNamespace(result={"label": row, "seed": seed, "teacher": {
            **({"separate": arm(0.1, 0.2, 0), "continued": arm(0.2, 0.3 + seed / 10)} if row == "first" else {}),
            "distilled": arm(0.3, 0.5)}})
        for row in ("first", "second", "third") for seed in (1, 2) if (row, seed) != ("third", 2)
    ]  # fmt: skip
    monkeypatch.setattr(controls, "PLAN", {"seeds": [1, 2], "tables": {"a": plan}})
    monkeypatch.setattr(controls, "recorded", lambda path: runs if path.name == "a.jsonl" else [])
    lines = controls.page().splitlines()
    assert [line for line in lines if line.startswith("|")] == [
        "| target of the teacher | validation m@1 | m@1 | best epochs |",
        "|---|---:|---:|---|",
        "| *separate* | 0.1000 ± 0.0000 | 0.2000 ± 0.0000 | 0, 0 |",
        "| *continued*, no target | 0.2000 ± 0.0000 | 0.4500 ± 0.0707 | 3, 3 |",
        "| first | 0.3000 ± 0.0000 | 0.5000 ± 0.0000 | 3, 3 |",
        "| second | 0.3000 ± 0.0000 | 0.5000 ± 0.0000 | 3, 3 |",
    ]
    assert "- second: `--guide=constant`" in lines
    monkeypatch.setattr(controls, "recorded", lambda path: [])
    assert "Not run yet: `python benchmarks/controls.py run a --data_path=DIR`" in controls.page()


def test_the_page_is_what_the_records_give(controls):
    path = controls.RECORDS.with_suffix(".md")
    assert path.read_text() == controls.page()
