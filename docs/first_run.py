"""The output of a first run in README and documentation, made by a real run.

`python docs/first_run.py --train` trains the default job, keeps what its output says in `docs/first_run.json`, and
writes the output into the pages. Without `--train` the pages are written from the kept record. `--check` trains, and
compares the figures with the record: it is what shows that other versions of torch give other figures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recbole_bd.runs.summary import report

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "first_run.json"
# The pages that show the output, between the markers below.
PAGES = ("README.md", "README.zh-CN.md", "docs/quickstart.md")
BEGIN, END = "<!-- first-run -->", "<!-- /first-run -->"
# What the output is made of, and with what the run was made.
KEPT = [
    "status", "method", "dataset", "seed", "valid_metric", "hashes", "command", "data", "versions", "machine",
    "teacher", "student", "student_wins", "student_wins_trained", "complementarity", "warnings", "run_folder",
]  # fmt: skip
# How far a figure may be from the record on another machine.
TOLERANCE = 0.02


def train() -> dict[str, Any]:
    """Train the default job in an empty folder, by the command of the README with one thread.

    Sums of several threads are rounded otherwise, and the figures shall not depend on the number of cores.

    Returns:
        The kept part of its `result.json`.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / "run_bd.py", "--threads=1"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(folder).glob("saved/*/result.json")
        result = json.loads(path.read_text(encoding="utf-8"))
    return {key: result[key] for key in KEPT}


def with_output(page: str, record: dict[str, Any]) -> str:
    """Replace what stands between the markers of a page by the run's output.

    Args:
        page: its text.
        record: what `train` returned.

    Returns:
        The new text.

    Raises:
        ValueError: the page lacks a marker.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{BEGIN} or {END} is missing")
    return f"{before}{begin}\n```text\n{report(record)}\n```\n{end}{after}"


def far_figures(found: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Name the test values of a run that are further than the tolerance from the record's.

    Args:
        found: what `train` returned now.
        record: what it returned for the pages.

    Returns:
        A line for each, empty if there is none.
    """
    lines = []
    for role in ("teacher", "student"):
        for arm in ("separate", "continued", "distilled"):
            for metric, value in record[role][arm]["test"].items():
                now = found[role][arm]["test"][metric]
                if abs(now - value) > TOLERANCE:
                    lines.append(f"{role} {arm} {metric}: {now} now, {value} in {RECORD.name}")
    return lines


def main() -> int:
    """Run the command line of this script; the exit code is 1 where figures differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="make the record anew")
    parser.add_argument("--check", action="store_true", help="compare a new run with the record")
    options = parser.parse_args()
    if options.check:
        far = far_figures(train(), json.loads(RECORD.read_text(encoding="utf-8")))
        print("\n".join(far) or "all figures are as in the record")
        return 1 if far else 0
    if options.train:
        RECORD.write_text(json.dumps(train(), indent=1) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for name in PAGES:
        page = ROOT / name
        page.write_text(with_output(page.read_text(encoding="utf-8"), record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
