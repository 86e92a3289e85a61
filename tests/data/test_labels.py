"""Labels: where they are measured, and where a label of 0 would count as a positive."""

import pytest

from recbole_bd.data.split import load_split
from recbole_bd.errors import ConfigError
from recbole_bd.runs.prepare import prepare
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import make_config

LABELED = {"eval_args.mode": "labeled", "metrics": ["AUC"], "valid_metric": "AUC"}
IDS = ["user_id", "item_id"]


@pytest.fixture
def labelled(quick, tmp_path):
    """Settings with data whose labels are 0 for each fifth interaction; `label` is its kind of column."""

    def settings(kind="float", every=5, **more):
        rows = [(*pair, int(index % every != 0)) for index, pair in enumerate(block_pairs())]
        write_inter(tmp_path, "labels", rows, header=f"user_id:token\titem_id:token\tlabel:{kind}")
        return {
            **quick,
            "dataset": "labels",
            "data_path": str(tmp_path),
            "load_col": {"inter": [*IDS, "label"]},
            **more,
        }

    return settings


@pytest.mark.parametrize("mode", ["full", "uni5", "pop5"])
@pytest.mark.parametrize(("kind", "keep"), [("float", "'[1,inf)'"), ("token", "['1']")])
def test_labels_of_0_where_items_are_ranked_are_refused_with_the_way_out(labelled, mode, kind, keep):
    with pytest.raises(ConfigError) as error:
        load_split(make_config(labelled(kind, **{"eval_args.mode": mode})))
    assert str(error.value) == (
        f"label: 108 of 540 interactions have label 0, but labels are not read in eval_args: mode: {mode}, so that "
        f"they would count as positives. Keep only the positives by val_interval: {{label: {keep}}}, or measure labels "
        "(AUC) with eval_args: mode: labeled"
    )


@pytest.mark.parametrize(("kind", "keep"), [("float", "[1,inf)"), ("token", ["1"])])
def test_the_way_out_keeps_the_positives(labelled, kind, keep):
    split = load_split(make_config(labelled(kind, val_interval={"label": keep})))
    assert split.dataset.inter_num == 432


def test_labels_are_found_where_all_columns_are_loaded(labelled):
    with pytest.raises(ConfigError, match="108 of 540 interactions have label 0"):
        load_split(make_config({**labelled(), "load_col": {"inter": "*"}}))


def test_labels_that_are_all_1_change_nothing(labelled):
    assert load_split(make_config(labelled(every=10**6, val_interval={"label": "[1,1]"}))).dataset.inter_num == 539


def test_labels_are_measured(labelled):
    split = load_split(make_config({**labelled(), **LABELED}))
    assert "label" in split.test.inter_feat


def test_measuring_without_labels_is_refused_even_where_all_columns_are_loaded(quick):
    with pytest.raises(ConfigError, match=r"^eval_args: mode: labeled measures labels, and .* no column label; name"):
        load_split(make_config({**quick, **LABELED, "load_col": {"inter": "*"}}))


def test_learning_from_labels_that_are_not_there_is_refused(quick):
    settings = {**quick, "student_model": "NeuMF", "student.train_neg_sample_args": None, "load_col": {"inter": "*"}}
    settings.pop("student.embedding_size")
    with pytest.raises(ConfigError, match=r"^student: without negatives NeuMF learns from labels, and .* no column"):
        prepare(make_config(settings))
