import sys
from pathlib import Path

import pytest

from recbole_bd.errors import InstallationError
from recbole_bd.serving.rows import writer_of


def test_parquet_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InstallationError) as error:
        writer_of(Path("r.parquet"))
    assert str(error.value) == 'parquet files need pyarrow: pip install "recbole-bd[export]", or write .csv or .jsonl'
