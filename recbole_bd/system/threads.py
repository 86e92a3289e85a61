"""Threads of this process: independent pieces of work side by side, and how many an operation uses."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import cache
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


@contextmanager
def side_by_side(is_wanted: bool = True) -> Iterator[Callable[[Callable[[], None], bool], None]]:
    """Scope in which pieces of work are done by the calling thread and by a second one; its end waits for all.

    Operations of both threads use one thread. If two threads are not wanted, all pieces are done at the end of the
    scope, in the order in which they were started.

    Args:
        is_wanted: whether to use a second thread.

    Yields:
        `start(work, is_here)`. With `is_here` the calling thread does the piece at once. Otherwise the second thread
        does it, after the pieces that it was given before.

    Raises:
        The first error of a piece: by `start` for one of the calling thread, else at the end of the scope.
    """
    if not is_wanted:
        pieces: list[Callable[[], None]] = []
        yield lambda work, is_here: pieces.append(work)
        for work in pieces:
            work()
        return
    with one_thread():
        begun: list[Future[None]] = []

        def start(work: Callable[[], None], is_here: bool) -> None:
            if is_here:
                work()
            else:
                begun.append(_second_thread().submit(work))

        try:
            yield start
        finally:
            wait(begun)
        for one in begun:
            one.result()


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "beside", initializer=torch.set_num_threads, initargs=(1,))


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
