"""Small data sets with a known structure, and a runner of the command line."""

import importlib
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import hypothesis
import pytest
import torch

from tests.helpers.counts import COUNTS, tally
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.forked import forked_children
from tests.helpers.histories import SHORT, write_chains
from tests.helpers.measured import MEASURED
from tests.helpers.order import slow_first
from tests.helpers.paths import ROOT
from tests.helpers.pictures import undrawn, unrasterised
from tests.helpers.settings import QUICK

# Coverage measures each process that has this variable.
MEASURED.update({name: os.environ.pop(name) for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ})
torch.set_num_threads(1)
# A busy machine fails no test: an example may take as long as it needs.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")
if not torch.cuda.is_available():
    # Torch keeps the call stack of each seed for a device that never comes: 6 % of the time of a short run.
    for device in (torch.cuda, torch.xpu):
        device.traceback = SimpleNamespace(format_stack=list)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Measure coverage by the quick part: measuring makes a slow test a third slower, and it covers no other lines.

    The processes of pytest-xdist begin with slow modules, so that none of them has the last long test alone.
    """
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")
    if hasattr(config, "workerinput"):
        items[:] = slow_first(items)


def pytest_sessionfinish(session):
    """In a process of pytest-xdist: hand the counts to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = dict(session.config.stash.get(COUNTS, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over the counts of a process of pytest-xdist that has ended; one that crashed has none."""
    for name, count in getattr(node, "workeroutput", {}).get("counts", {}).items():
        tally(node.config, name, count)


def pytest_terminal_summary(terminalreporter, config):
    """Print the counts, one line for each group: the words before a name's colon."""
    groups: dict[str, list[str]] = {}
    for name, count in config.stash.get(COUNTS, {}).items():
        group, _, what = name.rpartition(": ")
        groups.setdefault(group, []).append(f"{what} {count}")
    for group, lines in groups.items():
        terminalreporter.write_line(f"{group or 'counts'}: {', '.join(lines)}")


@pytest.fixture(scope="module", autouse=True)
def quick_pictures(request):
    """No pictures in modules that are not marked `pictures`, and none with pixels in those marked `figures`."""
    marked = request.node.get_closest_marker
    with nullcontext() if marked("pictures") else unrasterised() if marked("figures") else undrawn():
        yield


@pytest.fixture(scope="session")
def block_data(tmp_path_factory) -> Path:
    """A data path that holds the data set `blocks`."""
    folder = tmp_path_factory.mktemp("data")
    write_inter(folder, "blocks", block_pairs())
    return folder


@pytest.fixture
def quick(block_data, tmp_path) -> dict:
    """Settings of a run of a few seconds on the block data."""
    return {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(tmp_path / "saved")}


@pytest.fixture(scope="session")
def trained_run(block_data, tmp_path_factory) -> str:
    """The folder of a run of BPR and BPR, whose models are served."""
    from recbole_bd import run_bd

    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(tmp_path_factory.mktemp("served"))}
    return run_bd(config_dict=settings)["run_folder"]


@pytest.fixture(scope="session")
def sequential_run(tmp_path_factory) -> str:
    """The folder of a run of SASRec and GRU4Rec, whose models are served."""
    from recbole_bd import run_bd

    folder = tmp_path_factory.mktemp("in-time")
    settings = {**SHORT, "data_path": str(write_chains(folder)), "checkpoint_dir": str(folder / "saved")}
    settings |= {"teacher_model": "SASRec", "student_model": "GRU4Rec", "controls": []}
    return run_bd(config_dict=settings)["run_folder"]


@pytest.fixture(scope="module")
def evidence():
    """The driver of results/, which lies beside the package and searches with optuna."""
    pytest.importorskip("optuna", reason="the driver searches with optuna")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("evidence")


@pytest.fixture
def forked():
    """Children that are copies of the test's process where they can be."""
    with forked_children():
        yield


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: (exit code, standard output, standard error)."""
    from recbole_bd.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(words))
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
