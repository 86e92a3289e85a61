"""Errors for users: one line each, exit codes, and what becomes of other exceptions while a file is read."""

import signal

import numpy as np
import pytest

from recbole_bd import errors
from recbole_bd.errors import (
    BDError,
    CheckpointError,
    DataError,
    Interrupted,
    PeerError,
    TrainingError,
    named_damage,
    objects_refused,
)


def test_a_message_is_one_line_whatever_it_names():
    assert str(DataError("data set a\nb\r\nc: gone")) == "data set a b c: gone"
    assert str(BDError()) == ""


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BDError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Interrupted])
def test_exit_codes_of_the_command_line(kind):
    assert kind("x").exit_code == (1 if kind in (TrainingError, PeerError) else 2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_has_the_exit_code_of_shells(number, code):
    stopped = Interrupted(number)
    assert (stopped.exit_code, stopped.signal, str(stopped)) == (code, number, "stopped")
    assert str(Interrupted(number, "kept in x")) == "kept in x"


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (DataError("its split is gone"), "file x: its split is gone"),
        (ValueError("bad  magic\nand more"), "file x is damaged: bad magic"),
        (IndexError(), "file x is damaged: IndexError"),
        (MemoryError(""), "file x is damaged: MemoryError"),
    ],
)
def test_an_exception_while_a_file_is_read_names_the_file(raised, message):
    with pytest.raises(CheckpointError) as found, named_damage("file x", CheckpointError):
        raise raised
    assert str(found.value) == message
    assert found.value.__cause__ is raised


def test_a_stop_while_a_file_is_read_stays_a_stop():
    raised = Interrupted(signal.SIGTERM)
    with pytest.raises(Interrupted) as found, named_damage("file x", CheckpointError):
        raise raised
    assert found.value is raised


def test_arrays_of_objects_are_refused_by_the_name_of_their_file(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError) as found, objects_refused("file x", DataError):
        np.load(tmp_path / "a.npy")
    assert str(found.value) == "file x contains Python objects, which could run code, and is refused"


def test_another_fault_of_an_array_stays_what_it_is():
    with pytest.raises(ValueError, match=r"^no array$"), objects_refused("file x", DataError):
        raise ValueError("no array")
