"""Where the checkout is, and the real data beside it."""

from pathlib import Path

import pytest

# The checkout.
ROOT = Path(__file__).parents[2]
# Real data, where this machine has them; never part of the project.
SHARED_DATA = ROOT.parent / "shared" / "data"


def needs_data(name: str):
    """Skip a test where the real data set is absent."""
    return pytest.mark.skipif(not (SHARED_DATA / name).is_dir(), reason=f"real data {name} is not at {SHARED_DATA}")
