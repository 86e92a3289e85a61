"""Time of reading a data set here, with every line checked, and by RecBole's own reader, alternately (A B A B ...).

    python benchmarks/reading.py --dataset=ml-1m --data_path=DIR [--repeats=5] [--key=value ...]

`read` covers the interactions from the file to a table. `data set` also includes numbering the ids, which both take
from RecBole.
"""

import argparse
import logging
import statistics
import sys
import time

from recbole.data.dataset import Dataset

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.data.dataset import AtomicDataset
from recbole_bd.model import METHODS


class _Timed:
    """Mixin that records how long a data set reads."""

    def _load_feat(self, filepath, source):
        start = time.perf_counter()
        table = super()._load_feat(filepath, source)
        self.read = getattr(self, "read", 0) + time.perf_counter() - start
        return table


class HostReader(_Timed, Dataset):
    """RecBole's data set."""


class Reader(_Timed, AtomicDataset):
    """This package's data set."""


def timed(kind: type, config: BDConfig) -> tuple[float, float]:
    """Seconds of reading and of the whole data set."""
    start = time.perf_counter()
    dataset = kind(config)
    return dataset.read, time.perf_counter() - start


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    own, words = parser.parse_known_args()
    settings, files, _ = parse_arguments(words)
    config = BDConfig(config_file_list=files, command_line=settings, methods=METHODS)
    logging.disable(logging.WARNING)
    seconds: dict[str, list[tuple[float, float]]] = {"here": [], "RecBole": []}
    for repeat in range(own.repeats + 1):
        for name, kind in (("here", Reader), ("RecBole", HostReader)):
            measured = timed(kind, config)
            if repeat:  # the first pass is not counted
                seconds[name].append(measured)
    for column, what in enumerate(("read", "data set")):
        here, host = (statistics.median(pair[column] for pair in seconds[name]) for name in ("here", "RecBole"))
        print(f"{what}: {here:.2f} s here, {host:.2f} s with RecBole's reader, ratio {here / host:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
