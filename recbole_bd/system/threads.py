"""Threads of this process: independent pieces of work side by side, and how many an operation uses."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

# More threads would wait for Python's lock.
MOST = 4


def each_in_threads(
    work: Callable[[Part], Result], parts: Iterable[Part], most: int = MOST
) -> Generator[Result, None, None]:
    """Do the same work for each part, for several parts at a time on as many threads as torch may use.

    Where there are several, an operation within the work uses one thread, unless it is of `one_at_a_time`. The work has
    no gradient. Its first error ends it, and so does closing the generator.

    Args:
        work: called in any of the threads, for parts in any order; with one thread, in order.
        parts: what it is called with.
        most: most threads.

    Yields:
        The results in order of the parts.
    """
    total = torch.get_num_threads()
    quietly = torch.no_grad()(work)
    if min(total, most) == 1:
        yield from map(quietly, parts)
        return
    try:
        with ThreadPoolExecutor(min(total, most), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(quietly, parts)
    finally:
        torch.set_num_threads(total)  # each thread has a number of its own, but the last one set is that of new threads


def one_thread(is_wanted: bool = True) -> AbstractContextManager[None]:
    """Scope in which operations of the calling thread use one thread, if that is wanted."""
    return _threads(1 if is_wanted else torch.get_num_threads())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Scope in which operations of the calling thread use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_at_a_time(functions: Mapping[str, Callable[..., Result]]) -> dict[str, Callable[..., Result]]:
    """Functions for the work of `each_in_threads` of which only one runs at any time, each on all threads of torch."""
    lock, total = Lock(), torch.get_num_threads()

    def alone(function: Callable[..., Result]) -> Callable[..., Result]:
        def locked(*arguments: Any) -> Result:
            with lock, _threads(total):
                return function(*arguments)

        return locked

    return {name: alone(function) for name, function in functions.items()}
