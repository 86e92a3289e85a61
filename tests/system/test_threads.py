"""Work in threads: its results, its errors, and the number of threads of an operation."""

import threading
import time

import pytest
import torch

from recbole_bd.system.threads import each_in_threads, one_at_a_time, one_thread, side_by_side


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


def test_pieces_run_side_by_side_in_two_threads():
    torch.set_num_threads(3)
    here, seen, both = threading.get_ident(), {}, threading.Barrier(2, timeout=30)

    def piece(name: str, waits: bool):
        def work() -> None:
            seen[name] = threading.get_ident() == here, torch.get_num_threads()
            if waits:
                both.wait()  # passes only if two pieces run at the same time

        return work

    with side_by_side() as start:
        start(piece("first", waits=True), False)
        start(piece("second", waits=False), False)
        start(piece("third", waits=True), True)
    assert seen == {"first": (False, 1), "third": (True, 1), "second": (False, 1)}
    assert [name for name in seen if name != "third"] == ["first", "second"]
    assert torch.get_num_threads() == 3


def test_pieces_wait_for_the_end_where_one_thread_is_wanted():
    seen = []
    with side_by_side(is_wanted=False) as start:
        start(lambda: seen.append("first"), False)
        start(lambda: seen.append("second"), True)
        seen.append("scope")
    assert seen == ["scope", "first", "second"]


@pytest.mark.parametrize("failing", ["first", "last", "scope"])
def test_an_error_beside_ends_the_scope_after_all_pieces(failing):
    torch.set_num_threads(3)
    done = threading.Event()

    def first() -> None:
        time.sleep(0.05)
        done.set()
        if failing == "first":
            raise ValueError("first")

    def last() -> None:
        if failing == "last":
            raise ValueError("last")

    def run() -> None:
        with side_by_side() as start:
            start(first, False)
            if failing == "scope":
                raise ValueError("scope")
            start(last, True)

    with pytest.raises(ValueError, match=failing):
        run()
    assert done.is_set()
    assert torch.get_num_threads() == 3
