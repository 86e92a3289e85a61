import importlib.util
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from recbole_bd import compat
from recbole_bd.errors import InstallationError


def test_numpy_names_are_given_back_and_only_those_missing(monkeypatch):
    for name in ("float_", "complex_", "unicode_"):
        monkeypatch.delattr(np, name, raising=False)
    assert compat.restore_numpy_names()
    assert (np.float_, np.complex_, np.unicode_) == (np.float64, np.complex128, np.str_)
    monkeypatch.setattr(np, "float_", "kept", raising=False)
    assert not compat.restore_numpy_names()
    assert np.float_ == "kept"


@pytest.mark.skipif(
    getattr(sp.dok_matrix, "_update", compat.restore_dok_update).__module__ != compat.__name__,
    reason="this SciPy still has dok_matrix._update",
)
def test_dok_update_fills_a_matrix_and_is_left_alone_where_it_works(monkeypatch):
    monkeypatch.delattr(sp.dok_matrix, "_update", raising=False)
    assert compat.restore_dok_update()
    matrix = sp.dok_matrix((2, 3), dtype=np.float32)
    matrix._update({(0, 1): 2.0, (1, 2): 3.0})
    assert matrix.tocsr().toarray().tolist() == [[0, 2, 0], [0, 0, 3]]
    original = sp.dok_matrix._update
    assert not compat.restore_dok_update()
    assert sp.dok_matrix._update is original


def test_pandas_3_is_refused(monkeypatch):
    monkeypatch.setattr(pd, "__version__", "3.0.1")
    with pytest.raises(InstallationError, match="pip install 'pandas<3'"):
        compat.require_pandas_below_3()


def test_missing_recbole_names_the_one_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"pip install --no-deps recbole==1\.2\.1"):
        compat.require_recbole()


def test_the_program_says_it_in_one_line(monkeypatch, capsys):
    from recbole_bd.__main__ import main

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("recbole-bd: error: RecBole is not installed")
    assert line.endswith(compat.INSTALL_RECBOLE)
    with pytest.raises(InstallationError, match="RecBole is not installed"):
        from recbole_bd import run_bd  # noqa: F401


def test_ray_and_quick_start_are_never_imported():
    code = "import sys, recbole_bd.cli; print(sorted(m for m in sys.modules if m in ('ray', 'recbole.quick_start')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_missing_values_are_filled_by_recbole_on_this_stack(tmp_path, monkeypatch):
    from recbole.data.dataset import Dataset

    from tests.helpers.data import write_inter
    from tests.helpers.settings import make_config

    pairs = [("a", "x", "1"), ("a", "y", ""), ("b", "x", "3"), ("b", "y", "5")]
    write_inter(tmp_path, "gaps", pairs, header="user_id:token\titem_id:token\trating:float")
    config = make_config(
        dataset="gaps", data_path=str(tmp_path), load_col={"inter": ["user_id", "item_id", "rating"]}, topk=[1],
        valid_metric="MRR@1",
    )  # fmt: skip
    ratings = Dataset(config).inter_feat["rating"].to_numpy()
    assert not np.isnan(ratings).any()
    assert ratings.tolist() == [1, 3, 3, 5]  # RecBole fills with the column's mean
