"""Shares of lines and of branches that the tests ran, from coverage's JSON report; exits with 1 below the bars."""

import json
import sys

BARS = {"lines": 98.0, "branches": 96.0}
# Modules shown: those that lack most.
SHOWN = 5


def share(covered: int, total: int) -> float:
    """Percentage; 100 of nothing."""
    return 100 * covered / total if total else 100.0


def main(path: str) -> int:
    """Print both shares and the modules that lack most, and compare the shares with their bars."""
    with open(path) as stream:
        report = json.load(stream)
    totals = report["totals"]
    counts = {
        "lines": (totals["covered_lines"], totals["num_statements"]),
        "branches": (totals["covered_branches"], totals["num_branches"]),
    }
    lacking = {
        name: one["summary"]["missing_lines"] + one["summary"]["missing_branches"]
        for name, one in report["files"].items()
    }
    for name in sorted(lacking, key=lacking.get, reverse=True)[:SHOWN]:
        summary = report["files"][name]["summary"]
        print(
            f"  {name}: {summary['missing_lines']} lines and {summary['missing_branches']} branches are not run, of "
            f"{summary['num_statements']} and {summary['num_branches']}"
        )
    low = False
    for what, (covered, total) in counts.items():
        percent, bar = share(covered, total), BARS[what]
        low |= percent < bar
        verdict = "" if percent >= bar else ": TOO LOW"
        print(f"coverage of {what}: {percent:.1f} % ({covered} of {total}; at least {bar:.0f} %){verdict}")
    return int(low)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
