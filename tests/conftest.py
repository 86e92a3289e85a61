"""Small data sets with a known structure, and a runner of the command line."""

import importlib
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import pytest
import torch

from recbole_bd.config import BDConfig, method_options, properties_path
from recbole_bd.model import METHODS
from recbole_bd.options import load_yaml

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"

COUNTS = pytest.StashKey[Counter]()


def tally(config: pytest.Config, name: str, count: int = 1) -> None:
    """Add to one of the counts printed after the tests: how many faults, flips or kills they made, and what came."""
    config.stash.setdefault(COUNTS, Counter())[name] += count


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


def needs_data(name: str):
    """Skip a test where the real data set is absent."""
    return pytest.mark.skipif(not (SHARED_DATA / name).is_dir(), reason=f"real data {name} is not at {SHARED_DATA}")


def write_inter(folder: Path, name: str, pairs, part: str | None = None, header="user_id:token\titem_id:token") -> Path:
    """Write interactions as a RecBole atomic file under folder/name/."""
    path = folder / name / (f"{name}.{part}.inter" if part else f"{name}.inter")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *("\t".join(map(str, pair)) for pair in pairs)]) + "\n")
    return path


def block_pairs(n_users=60, n_items=48, blocks=4, per_user=9, seed=0) -> list[tuple[str, str]]:
    """Users of block b interact with items of block b only: whoever learns the blocks ranks the held-out item high."""
    generator = np.random.default_rng(seed)
    size = n_items // blocks
    pairs = []
    for user in range(n_users):
        items = generator.choice(size, size=min(per_user, size), replace=False) + (user % blocks) * size
        pairs += [(f"u{user}", f"i{item}") for item in items]
    return pairs


@pytest.fixture(scope="session")
def block_data(tmp_path_factory) -> Path:
    """A data path that holds the data set `blocks`."""
    folder = tmp_path_factory.mktemp("data")
    write_inter(folder, "blocks", block_pairs())
    return folder


QUICK = {
    "dataset": "blocks",
    "metrics": ["Hit", "NDCG"],
    "topk": [5],
    "valid_metric": "NDCG@5",
    "learning_rate": 0.01,
    "train_batch_size": 128,
    "epochs": 3,
    "distill_epochs": 3,
    "refresh_period": 2,
    "teacher.embedding_size": 8,
    "student.embedding_size": 2,
    "device": "cpu",
    "show_progress": False,
}


# BD as it was published, which is not the default.
PAPER = load_yaml(properties_path("model", "BD-paper.yaml"))


@pytest.fixture
def quick(block_data, tmp_path) -> dict:
    """Settings of a run of a few seconds on the block data."""
    return {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(tmp_path / "saved")}


def alone(settings: dict) -> dict:
    """The settings without what belongs to two roles: for a baseline."""
    return {key: value for key, value in settings.items() if "." not in key and key != "refresh_period"}


@pytest.fixture(scope="module")
def evidence():
    """The driver of results/, which lies beside the package and searches with optuna."""
    pytest.importorskip("optuna", reason="the driver searches with optuna")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
        yield importlib.import_module("evidence")


def for_method(settings: dict, method: str) -> dict:
    """The settings without those of other methods."""
    foreign = {key for name in METHODS for key in method_options(name)} - method_options(method).keys()
    return {key: value for key, value in settings.items() if key not in foreign}


def roughly(row: dict, rel: float) -> dict:
    """What equals a row whose numbers with a decimal point are off by so much of themselves at most."""
    return {key: pytest.approx(value, rel=rel) if isinstance(value, float) else value for key, value in row.items()}


def make_config(settings: dict | None = None, **more) -> BDConfig:
    """A BDConfig from settings."""
    return BDConfig(config_dict={**(settings or {}), **more}, methods=METHODS)


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: (exit code, standard output, standard error)."""
    from recbole_bd.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(words))
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
