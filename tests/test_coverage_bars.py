"""The bars that the coverage of the tests is held against, on reports small enough to check by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

SCRIPT = ROOT / ".ci" / "coverage.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="no checkout: .ci/coverage.py is not here")


@pytest.fixture(scope="module")
def bars():
    spec = importlib.util.spec_from_file_location("coverage_bars", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(folder: Path, lines: tuple[int, int], branches: tuple[int, int]) -> str:
    """A report as coverage writes it: one module with so many lines and branches that ran, of so many."""
    totals = {
        "covered_lines": lines[0],
        "num_statements": lines[1],
        "missing_lines": lines[1] - lines[0],
        "covered_branches": branches[0],
        "num_branches": branches[1],
        "missing_branches": branches[1] - branches[0],
    }
    path = folder / "coverage.json"
    path.write_text(json.dumps({"totals": totals, "files": {"module.py": {"summary": totals}}}))
    return str(path)


@pytest.mark.parametrize(
    ("lines", "branches", "low"),
    [
        ((1000, 1000), (1000, 1000), []),
        ((980, 1000), (960, 1000), []),  # the bars themselves are high enough
        ((979, 1000), (1000, 1000), ["lines"]),
        ((1000, 1000), (959, 1000), ["branches"]),
        ((979, 1000), (959, 1000), ["lines", "branches"]),
        ((0, 0), (0, 0), []),  # of nothing all is covered
    ],
)
def test_shares_below_the_bars_fail(bars, tmp_path, capsys, lines, branches, low):
    assert bars.BARS == {"lines": 98.0, "branches": 96.0}
    assert bars.main(report(tmp_path, lines, branches)) == int(bool(low))
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[2].rstrip(":") for line in told if "TOO LOW" in line] == low


def test_what_lacks_most_is_named_first(bars, tmp_path, capsys):
    def summary(missing: int) -> dict:
        counts = {"missing_lines": missing, "missing_branches": 0, "num_statements": 10, "num_branches": 0}
        return {"summary": counts}

    totals = {"covered_lines": 43, "num_statements": 70, "covered_branches": 0, "num_branches": 0}
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps({"totals": totals, "files": {f"{n}.py": summary(n) for n in range(7)}}))
    assert bars.main(str(path)) == 1
    named = [line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines() if "not run" in line]
    assert named == ["6.py", "5.py", "4.py", "3.py", "2.py"]
