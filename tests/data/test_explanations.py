"""RecBole's refusals of data, in terms of the settings."""

import re
from pathlib import Path

import pytest
from recbole.data.dataset import dataset as host

from recbole_bd.data.explanations import explain
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import make_config

RATED = {"inter": ["user_id", "item_id", "rating"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_interval": {"price": "[1,2]"}}, "val_interval: no column price is loaded; name it in load_col"),
        ({"additional_feat_suffix": ["emb"]}, r"additional_feat_suffix: data file .*rated\.emb does not exist"),
        (
            {"alias_of_user_id": ["a"], "alias_of_item_id": ["a"]},
            "alias_of_user_id, alias_of_item_id: .*a.* is in both",
        ),
        ({"preload_weight": {"a": "b"}}, "preload_weight: a must be one of two loaded columns of the same file"),
        ({"user_inter_num_interval": "[99,inf)"}, "no user or item is left after filtering; loosen user_inter_num"),
        ({"load_col": {**RATED, "user": ["age"]}}, "load_col: user lacks the column of its ids"),
    ],
)
def test_a_refusal_names_the_setting(settings, message, quick, tmp_path):
    write_inter(
        tmp_path, "rated", [(*pair, 1) for pair in block_pairs()], header="user_id:token\titem_id:token\trating:float"
    )
    (tmp_path / "rated" / "rated.user").write_text("user_id:token\tage:float\nu1\t5\n")
    with pytest.raises(BDError, match=message) as error:
        load_split(make_config({**quick, "dataset": "rated", "data_path": str(tmp_path), **settings}))
    assert "Field [" not in str(error.value)


def test_an_unknown_refusal_is_framed():
    assert explain(ValueError("odd  \n thing")) == "its files do not fit the settings: odd thing"
    assert explain(AssertionError()) == "its files do not fit the settings: AssertionError"


def test_what_is_explained_is_still_what_recbole_says():
    said = re.findall(
        r"should be type token|not defined in dataset|not in inter_feat|feat is empty", Path(host.__file__).read_text()
    )
    assert len(set(said)) == 4
