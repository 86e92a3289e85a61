"""The garbage collector while steps run."""

import gc
import weakref

import pytest

from recbole_bd.system.garbage import old_objects_left_alone


class Cycle:
    def __init__(self):
        self.own = self


def test_new_cycles_are_freed_and_old_ones_afterwards():
    before, old = gc.get_freeze_count(), Cycle()
    seen = weakref.ref(old)
    with old_objects_left_alone():
        del old
        new = weakref.ref(Cycle())
        gc.collect()
        assert new() is None
        assert seen() is not None
    assert gc.get_freeze_count() == before
    gc.collect()
    assert seen() is None


def test_an_error_ends_the_scope():
    before = gc.get_freeze_count()

    def failing():
        with old_objects_left_alone():
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert gc.get_freeze_count() == before
