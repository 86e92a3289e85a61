"""The pool of child processes: its number at a time, its log files, its listeners, and how processes end."""

import os
import signal
import sys
import threading
import time

import pytest

from recbole_bd.system.process_pool import ProcessPool


def python(code):
    return (sys.executable, "-S", "-c", code)


def ended(pool, limit=30.0):
    """All children of the pool, in the order of their ends."""
    found, until = [], time.monotonic() + limit
    while pool.running:
        assert time.monotonic() < until, "waited in vain"
        found += pool.wait()
    return found


def wait_for(path, limit=30.0):
    until = time.monotonic() + limit
    while not path.exists():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_a_process_has_its_log_its_environment_and_its_code(tmp_path):
    code = "import os, sys; print(os.environ['WORD'], sys.stdin.read() == ''); sys.exit('an error')"
    with ProcessPool(1, 5.0) as pool:
        child = pool.start(python(code), tmp_path / "logs" / "one.log", {**os.environ, "WORD": "a word"})
        assert ended(pool) == [child]
    assert child.process.returncode == 1
    assert sorted(child.log.read_text().splitlines()) == ["a word True", "an error"]
    assert 0 < child.seconds < 30


def test_no_more_run_than_there_are_jobs(tmp_path):
    with ProcessPool(2, 5.0) as pool:
        for number in range(2):
            assert pool.has_room
            pool.start(python("pass"), tmp_path / f"{number}.log")
        assert not pool.has_room
        with pytest.raises(RuntimeError, match="2 processes are already running"):
            pool.start(python("pass"), tmp_path / "third.log")
        assert len(ended(pool)) == 2
        assert pool.has_room


def test_every_line_is_heard_and_none_is_in_the_log(tmp_path):
    """More lines than a pipe holds, the last of them written right before the end."""
    heard = []
    code = "import sys; word = sys.stdin.read(); [print(word, n) for n in range(30000)]; print('log', file=sys.stderr)"
    with ProcessPool(1, 5.0) as pool:
        child = pool.start(python(code), tmp_path / "log", text="é", listener=lambda line: bool(heard.append(line)))
        ended(pool)
    assert heard == [f"é {number}" for number in range(30000)]
    assert child.log.read_text() == "log\n"
    assert child.process.returncode == 0
    assert child.process.stdout.closed


def test_a_listener_ends_its_process_alone(tmp_path):
    loop = "import time\nwhile True: print('line', flush=True); time.sleep(.02)"
    with ProcessPool(2, 5.0) as pool:
        pruned = pool.start(python(loop), tmp_path / "0.log", listener=lambda line: True)
        other = pool.start(python("import time; time.sleep(.5)"), tmp_path / "1.log")
        assert set(ended(pool)) == {pruned, other}
    assert pruned.process.returncode == -signal.SIGTERM
    assert other.process.returncode == 0


def test_a_stop_waits_for_what_a_process_has_to_say_and_kills_the_stubborn(tmp_path):
    heard = []
    begin = f"import pathlib, signal, sys, time; folder = pathlib.Path({str(tmp_path)!r})\n"
    obeys = (
        "def stop(*_): time.sleep(.2); print('saved', flush=True); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop); (folder / 'obeys').touch(); time.sleep(60)"
    )
    refuses = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'refuses').touch(); time.sleep(60)"
    with ProcessPool(2, 2.0) as pool:
        saved = pool.start(python(begin + obeys), tmp_path / "0", listener=lambda line: bool(heard.append(line)))
        killed = pool.start(python(begin + refuses), tmp_path / "1")
        wait_for(tmp_path / "obeys")
        wait_for(tmp_path / "refuses")
        assert pool.stop() == [saved, killed]
        assert not pool.running
    assert heard == ["saved"]
    assert [saved.process.returncode, killed.process.returncode] == [143, -signal.SIGKILL]


def test_an_error_ends_the_processes_and_leaves_no_thread(tmp_path):
    before = threading.active_count()

    def fail(line):
        raise ValueError(line)

    children = []

    def use():
        loud = python("print('words', flush=True); import time; time.sleep(60)")
        with ProcessPool(2, 5.0) as pool:
            children.append(pool.start(loud, tmp_path / "0", listener=fail))
            children.append(pool.start(python("import time; time.sleep(60)"), tmp_path / "1"))
            ended(pool)

    with pytest.raises(ValueError, match="words"):
        use()
    assert [child.process.returncode for child in children] == [-signal.SIGTERM] * 2
    assert threading.active_count() == before


def test_what_cannot_be_started_is_an_error_and_takes_no_room(tmp_path):
    with ProcessPool(1, 5.0) as pool:
        with pytest.raises(OSError, match="nosuch"):
            pool.start([str(tmp_path / "nosuch")], tmp_path / "log")
        assert pool.has_room


def test_a_process_that_reads_nothing_is_waited_for_as_others(tmp_path):
    with ProcessPool(1, 5.0) as pool:
        child = pool.start(python("import sys; sys.exit(3)"), tmp_path / "log", text="x" * 1_000_000)
        assert ended(pool) == [child]
    assert child.process.returncode == 3
