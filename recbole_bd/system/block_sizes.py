"""Number of rows of a large array that are computed together, by the kind of device."""

from collections.abc import Mapping

import torch


def rows_at_once(numbers: Mapping[str, int], device: torch.device, width: int) -> int:
    """Number of rows of an array that are computed together, at least 1.

    Args:
        numbers: how many numbers are computed together, by type of device: `cpu`, and `cuda` for all others.
        device: where they are computed.
        width: numbers of a row.
    """
    return max(1, numbers.get(device.type, numbers["cuda"]) // max(width, 1))
