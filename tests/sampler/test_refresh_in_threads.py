"""A refresh on several threads: the same items, scores one call at a time, errors and settings as on one."""

import threading
import time

import pytest
import torch

from recbole_bd.errors import DataError
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from tests.helpers.references import DIRECTIONS, seen_items, wide_tables
from tests.helpers.together import scores_of

N_USERS, N_ITEMS = 120, 90


@pytest.fixture(autouse=True)
def short_spans(monkeypatch):
    monkeypatch.setattr("recbole_bd.sampler.sampler._USERS_A_SPAN", 5)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def sampler_of(direction: Direction, how: str = "binned") -> DistillationSampler:
    sizes = torch.arange(N_USERS) % 7 + 20
    directions = {"teacher": direction, "student": direction}
    return DistillationSampler(
        seen_items(N_USERS, N_ITEMS, 10), directions, sizes, how, 30, 3, chunk_scores=3 * N_ITEMS
    )


def drawn(threads: int, direction: Direction, how: str, scores: dict) -> list[torch.Tensor]:
    torch.set_num_threads(threads)
    sampler, pools = sampler_of(direction, how), []
    for _ in range(2):  # the second time, sampled candidates are known
        sampler.refresh(scores)
        pools += [pool.clone() for pool in sampler.pools.values()]
    return [*pools, sampler.generator.get_state()]


@pytest.mark.parametrize("how", ["binned", "exact", "sampled"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_threads_draw_the_same_items(name, how):
    scores = {role: scores_of(table) for role, table in wide_tables(N_USERS, N_ITEMS).items()}
    alone, *others = (drawn(threads, DIRECTIONS[name], how, scores) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(one, same) for one, same in zip(alone, other, strict=True))


def test_scores_are_asked_for_one_call_at_a_time_without_gradient_and_on_all_threads():
    tables, running, callers = wide_tables(N_USERS, N_ITEMS), [], set()
    threads = 3

    def slow(role):
        def score(users, items=None):
            assert not running, "two calls at a time"
            assert torch.get_num_threads() == threads
            assert not torch.is_grad_enabled() or threading.current_thread() is threading.main_thread()
            running.append(role)
            time.sleep(0.002)
            running.clear()
            callers.add(threading.current_thread().name)
            return scores_of(tables[role])(users, items)

        return score

    torch.set_num_threads(threads)
    sampler_of(Direction()).refresh({role: slow(role) for role in tables})
    assert len(callers - {threading.main_thread().name}) > 1
    assert torch.get_num_threads() == threads


def test_scores_that_are_drawn_are_asked_for_in_the_order_of_users():
    """A model that draws random numbers when it scores gives the same scores on any number of threads."""
    found = []
    for threads in (1, 4):
        torch.manual_seed(5)
        scores = {role: lambda users, items=None: torch.rand(len(users), N_ITEMS) for role in ("teacher", "student")}
        found.append([*drawn(threads, Direction(), "binned", scores), torch.get_rng_state()])
    assert all(torch.equal(one, same) for one, same in zip(*found, strict=True))


def test_an_error_in_a_thread_is_the_refresh_s_and_earlier_items_stay():
    tables = wide_tables(N_USERS, N_ITEMS)
    torch.set_num_threads(3)
    sampler, scores = sampler_of(Direction()), {role: scores_of(table) for role, table in tables.items()}
    sampler.refresh(scores)
    before = {role: pool.clone() for role, pool in sampler.pools.items()}
    tables["student"][70, 5] = torch.nan
    with pytest.raises(DataError, match="student"):
        sampler.refresh(scores)
    assert torch.get_num_threads() == 3
    assert all(torch.equal(before[role], pool) for role, pool in sampler.pools.items())
    assert threading.active_count() == 1 + sum(not t.name.startswith("ThreadPool") for t in threading.enumerate()[1:])
