"""Paths in settings: recorded absolute, and found again after folders were moved."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def absolute(path: Any) -> Any:
    """Make a path absolute, as seen from the current folder; anything but a nonempty text stays as it is."""
    return os.path.abspath(path) if isinstance(path, str) and path else path


def places_of(recorded: str, folder: str | Path) -> Iterator[Path]:
    """List where a recorded path may lie after its project was moved, the most likely place first.

    These are the path itself, and each of its endings below `folder` and below every folder above it: with the data
    in `/old/project/data` and the run now in `/new/project/saved/RUN`, one of them is `/new/project/data`.

    Args:
        recorded: the path; a relative one is first tried from the current folder.
        folder: folder of the run that recorded it.
    """
    path, beside = Path(recorded), Path(absolute(str(folder)))
    names = [name for name in path.parts if name != path.anchor]
    endings = [Path(*names[start:]) for start in range(len(names))]
    yield from dict.fromkeys([path, *(above / end for above in (beside, *beside.parents) for end in endings)])


def data_folders(recorded: str, dataset: str, folder: str | Path) -> list[Path]:
    """Find the folders that hold a data set, among the places of a recorded `data_path`.

    Args:
        recorded: the recorded `data_path`.
        dataset: name of the data set.
        folder: folder of the run that recorded it.
    """
    return [place for place in places_of(recorded, folder) if any((place / dataset).glob(f"{dataset}*.inter"))]


def file_of(recorded: str, folder: str | Path) -> str:
    """Find a recorded file; if it is at none of its places, return the path as recorded.

    Args:
        recorded: the recorded path of the file.
        folder: folder of the run that recorded it.
    """
    return next((str(place) for place in places_of(recorded, folder) if _is_file(place)), recorded)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False
