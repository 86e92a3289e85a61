"""Work in threads: its results, its errors, and the number of threads of an operation."""

import threading
import time

import pytest
import torch

from recbole_bd.system.threads import each_in_threads, one_at_a_time, one_thread


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_results_come_in_order_and_operations_use_one_thread(count):
    torch.set_num_threads(count)
    seen = set()

    def work(part: int) -> tuple[int, int, bool]:
        seen.add(threading.get_ident())
        return part * part, torch.get_num_threads(), torch.is_grad_enabled()

    assert list(each_in_threads(work, range(50))) == [(part * part, 1, False) for part in range(50)]
    assert len(seen) <= min(count, 4)
    assert torch.get_num_threads() == count
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_error_ends_the_work(count):
    torch.set_num_threads(count)
    done = []

    def work(part: int) -> int:
        if part == 3:
            raise ValueError("part 3")
        time.sleep(0.005)
        done.append(part)
        return part

    found = []
    with pytest.raises(ValueError, match="part 3"):
        found.extend(each_in_threads(work, range(300)))
    assert len(done) < 200
    assert torch.get_num_threads() == count


def test_one_function_runs_at_a_time_on_all_threads():
    torch.set_num_threads(3)
    running = []

    def score(number: int) -> int:
        assert not running
        running.append(number)
        threads = torch.get_num_threads()
        running.clear()
        return threads

    functions = one_at_a_time({"teacher": score, "student": score})

    def work(part: int) -> list[int]:
        return [functions["teacher" if part % 2 else "student"](part), torch.get_num_threads()]

    assert list(each_in_threads(work, range(200))) == [[3, 1]] * 200


def test_one_thread_is_left_as_it_was_found():
    torch.set_num_threads(3)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with one_thread(False):
        assert torch.get_num_threads() == 3


def test_closing_ends_the_work():
    torch.set_num_threads(2)
    done = []
    work = each_in_threads(lambda part: [time.sleep(0.005), done.append(part)], range(300))
    next(work)
    work.close()
    assert len(done) < 100
    assert torch.get_num_threads() == 2


def test_one_thread_at_most_works_in_order_in_this_one():
    torch.set_num_threads(3)
    found = []
    assert len(list(each_in_threads(lambda part: found.append((part, threading.get_ident())), range(9), 1))) == 9
    assert found == [(part, threading.get_ident()) for part in range(9)]
