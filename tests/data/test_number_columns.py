"""Settings that name columns of numbers, on data with columns of every type."""

import pytest

from recbole_bd.data.split import load_split
from recbole_bd.errors import ConfigError
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import make_config

HEADER = "user_id:token\titem_id:token\trating:float\tlabel:float\tday:token\ttags:token_seq\tpath:float_seq"
LD = {"method": "LD"}
LABELED = {"eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC"}


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A data path with the set `rated`, which has a column of every type."""
    folder = tmp_path_factory.mktemp("typed")
    rows = [(*pair, 1 + n % 5, 1, f"d{n % 3}", "a b", "1 2 3") for n, pair in enumerate(block_pairs())]
    write_inter(folder, "rated", rows, header=HEADER)
    return {"dataset": "rated", "data_path": str(folder), "load_col": {"inter": "*"}}


def load(quick, rated, settings):
    return load_split(make_config({**quick, **rated, **settings}))


@pytest.mark.parametrize("key", ["normalize_field", "numerical_features", "discretization"])
@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("user_id", "user_id is a column of type token, and only numbers serve; leave it out, or write user_id:float"),
        ("day", "day is a column of type token"),
        ("tags", "tags is a column of type token_seq"),
        ("price", "no column price is loaded; name it in load_col"),
    ],
)
def test_only_loaded_columns_of_numbers_serve(key, column, problem, quick, rated):
    columns = ["rating", column]
    value = dict.fromkeys(columns, LD) if key == "discretization" else columns
    with pytest.raises(ConfigError, match=f"^{key}: {problem}"):
        load(quick, rated, {"numerical_features": ["rating"], key: value})


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("day", "day is a column of type token"),
        ("path", "path is a column of type float_seq"),
        ("price", "no column price is loaded; name it in load_col: inter"),
    ],
)
def test_a_threshold_divides_numbers(column, problem, quick, rated):
    with pytest.raises(ConfigError, match=f"^threshold: {problem}"):
        load(quick, rated, {**LABELED, "LABEL_FIELD": "made", "threshold": {column: 1}})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"discretization": {"rating": LD}}, "discretization: rating must be in numerical_features as well"),
        (
            {"numerical_features": ["label"]},
            r"numerical_features: label is the label of an interaction \(LABEL_FIELD\)",
        ),
        (
            {**LABELED, "threshold": {"rating": 3}, "normalize_field": ["rating"]},
            "normalize_field: threshold replaces rating by labels; leave it out",
        ),
    ],
)
def test_a_column_has_one_meaning(settings, problem, quick, rated):
    with pytest.raises(ConfigError, match=f"^{problem}"):
        load(quick, rated, settings)


def test_columns_of_numbers_are_read_as_before(quick, rated):
    numbers = {
        "normalize_field": ["rating", "path"],
        "numerical_features": ["rating"],
        "discretization": {"rating": LD},
    }
    assert len(load(quick, rated, numbers).train) > 0
