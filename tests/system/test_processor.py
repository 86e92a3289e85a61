"""NumPy's features on the processor that is slow at some of them."""

import os
import subprocess
import sys

import pytest

from recbole_bd.system import processor

ZEN_4 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nflags\t\t: avx2 avx512f\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (ZEN_4, True),
        (ZEN_4.replace(" avx512f", ""), False),  # Zen 3
        (ZEN_4.replace("25", "26"), False),
        (ZEN_4.replace("AuthenticAMD", "GenuineIntel"), False),
        ("Processor : ARMv8\n", False),
        (None, False),
    ],
)
def test_only_zen_4_sorts_without_avx_512(cpu, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    if cpu is not None:
        (tmp_path / "cpuinfo").write_text(cpu)
    environment = {}
    processor.avoid_slow_sorts(environment)
    assert environment == {}  # NumPy is imported, and has read the environment
    monkeypatch.delitem(sys.modules, "numpy")
    processor.avoid_slow_sorts(environment)
    assert ("AVX512F" in environment.get("NPY_DISABLE_CPU_FEATURES", "").split()) == expected
    given = {"NPY_DISABLE_CPU_FEATURES": ""}
    processor.avoid_slow_sorts(given)
    assert given == {"NPY_DISABLE_CPU_FEATURES": ""}


def test_numpy_takes_the_names_of_features_without_a_word():
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": processor._AVX512}
    command = [sys.executable, "-c", "import numpy; numpy.sort(numpy.arange(9.0)[::-1])"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
