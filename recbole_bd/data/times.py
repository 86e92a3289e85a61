"""Whether the times of the interactions decide how these are ordered or divided."""

from collections.abc import Mapping
from typing import Any


def reads_times(arguments: Mapping[str, Any]) -> bool:
    """Whether a split orders or divides the interactions by their times.

    Args:
        arguments: RecBole's `eval_args`.
    """
    return arguments.get("order", "RO") == "TO" or "TS" in arguments.get("split", {})
