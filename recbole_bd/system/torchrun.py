"""Rank and number of the processes that `torchrun` started, read from environment variables without importing torch."""

import os


def started_rank() -> int | None:
    """Rank that `torchrun` gave to this process; None if it was started without `torchrun`."""
    return int(os.environ["RANK"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None


def local_rank() -> int:
    """Rank of this process on its machine, from 0; also the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes_here() -> int:
    """Number of this run's processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
