"""Batches moved many at a time are the same batches in the same order."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_bd.data.resident import resident
from tests.helpers.scenes import Scene


def made(source: str, first: int, rows: int, width: int = 0) -> tuple[str, Interaction]:
    ids = torch.arange(first, first + rows)
    columns = {"user": ids, "item": ids * 10, "weight": ids.float()}
    if width:
        columns["negatives"] = ids.unsqueeze(1) + torch.arange(width)
    return source, Interaction(columns)


def equal(one: Interaction, other: Interaction) -> bool:
    first, second = one.interaction, other.interaction
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("rows", [1, 5, 8, 10**6])
def test_batches_come_unchanged_and_in_order(rows):
    """Two sources take turns; the batches of one have columns of a width of their own."""
    batches = [made("teacher", 0, 4), made("student", 50, 3, width=2), made("teacher", 4, 4), made("student", 53, 3, 5)]
    batches += [made("teacher", 8, 2), made("student", 56, 1, 2)]
    found = list(resident(iter(batches), torch.device("cpu"), rows))
    assert [source for source, _ in found] == [source for source, _ in batches]
    assert all(equal(own, batch) for (_, own), (_, batch) in zip(found, batches, strict=True))


def test_nothing_is_moved_before_it_is_asked_for():
    drawn = []

    def batches():
        for number in range(6):
            drawn.append(number)
            yield made("teacher", number, 2)

    found = resident(batches(), torch.device("cpu"), rows=4)
    next(found)
    assert drawn == [0, 1]


def test_no_batch_is_none():
    assert list(resident(iter([]), torch.device("cpu"))) == []


@pytest.mark.parametrize("teacher", ["BPR", "CDAE"])
def test_streams_ahead_of_the_steps_have_the_same_batches(teacher, quick, monkeypatch):
    """Loaders share a random state, so that the streams of two roles are drawn from in the order of their batches."""
    settings = {key: value for key, value in quick.items() if "." not in key}
    scene = Scene({**settings, "teacher_model": teacher, "student_model": "BPR"})
    found = []
    for ahead in (False, True):
        stream = scene.stream()
        for loader in stream.loaders:
            monkeypatch.setattr(type(loader), "is_ahead", ahead)
        np.random.seed(4)
        found.append(list(stream))
    assert len(found[0]) == len(found[1]) > 2
    for plain, moved in zip(*found, strict=True):
        assert plain.roles == moved.roles
        assert all(torch.equal(one, other) for one, other in zip(plain.tensors(), moved.tensors(), strict=True))
