"""Every test of this folder goes through whole runs. It is slow, and its coverage is not measured.

Measuring makes a run a third slower, and the tests of each module cover the same lines.
"""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder; the hook is given those of every folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker("no_cover")
