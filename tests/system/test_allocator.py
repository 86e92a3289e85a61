"""Memory that the C library keeps while steps run."""

import platform
import subprocess
import sys

import pytest
import torch

from recbole_bd.system import allocator
from recbole_bd.system.allocator import freed_memory_kept

FAULTS = """
import resource
from contextlib import nullcontext
import torch
from recbole_bd.system.allocator import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        tables = [torch.ones(10_000_000) for _ in range(2)]  # 40 MB each, above glibc's largest threshold
        del tables
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
with SCOPE():
    faults()
    print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_tables_of_a_step_take_the_memory_of_the_step_before():
    def faults(scope: str) -> int:
        words = [sys.executable, "-c", FAULTS.replace("SCOPE", scope)]
        return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    huge_pages = 10 * 2 * 40_000_000 // 2**21
    assert faults("freed_memory_kept") < huge_pages // 10
    assert faults("nullcontext") > huge_pages // 2


def test_another_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(allocator, "_mallopt", lambda: None)
    with freed_memory_kept():
        assert torch.ones(3).sum() == 3


def test_an_error_ends_the_scope(monkeypatch):
    calls = {}
    monkeypatch.setattr(allocator, "_mallopt", lambda: calls.__setitem__)

    def failing():
        with freed_memory_kept():
            assert calls == {-4: 0, -1: -1}
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert calls == {-4: 65_536, -1: 2**26, -3: 2**25}
