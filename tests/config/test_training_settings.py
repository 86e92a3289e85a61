"""What a model needs for its training is checked before data are loaded."""

import pytest

from recbole_bd.backbones.registry import general_recommenders, learns_by_gradient
from recbole_bd.config.training_settings import learns_from_pairs, reads_negatives
from recbole_bd.errors import ConfigError
from tests.helpers.settings import make_config

LABELS = {"load_col": {"inter": ["user_id", "item_id", "label"]}}
PAIRS = "learns from pairs of items and needs negatives; leave it out, or write {distribution: uniform, sample_num: 1}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "BPR", "train_neg_sample_args": None}, f"train_neg_sample_args=None: BPR {PAIRS}"),
        ({"model": "BPR", "train_neg_sample_args": {"distribution": None}}, f"train_neg_sample_args=None: BPR {PAIRS}"),
        ({"train_neg_sample_args": None}, f"teacher.train_neg_sample_args=None: BPR {PAIRS}"),
        ({"student.train_neg_sample_args": None, **LABELS}, f"student.train_neg_sample_args=None: BPR {PAIRS}"),
        (
            {"model": "RRD", "teacher_model": "ItemKNN", "student.train_neg_sample_args": None},
            f"student.train_neg_sample_args=None: BPR {PAIRS}",
        ),
        (
            {"model": "NeuMF", "train_neg_sample_args": None},
            "train_neg_sample_args=None: without negatives NeuMF learns from labels, and the column label (LABEL_FIELD)"
            " is not loaded; name it in load_col, or leave it out, or write {distribution: uniform, sample_num: 1}",
        ),
        (
            {"student_model": "CDAE", "student.train_neg_sample_args": {"dynamic": True, "candidate_num": 2}},
            "student.train_neg_sample_args: dynamic=True chooses among negatives, but CDAE draws none",
        ),
        (
            {"model": "NeuMF", "LABEL_FIELD": None},
            "LABEL_FIELD=None: must name the column of labels that NeuMF is trained with",
        ),
        (
            {"model": "BPR", "learner": "sdg"},
            "learner='sdg': must be one of adam, adamw, sgd, adagrad, rmsprop, sparse_adam",
        ),
    ],
)
def test_what_a_model_lacks_is_refused_by_the_name_of_the_setting(settings, message):
    with pytest.raises(ConfigError) as error:
        make_config(settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "ENMF", "train_neg_sample_args": None},
        {"model": "EASE", "train_neg_sample_args": None},
        {"model": "NeuMF", "train_neg_sample_args": None, **LABELS},
        {"model": "NeuMF", "train_neg_sample_args": None, "load_col": {"inter": "*"}},
        {"teacher_model": "MultiVAE", "student_model": "CDAE", "train_neg_sample_args": None},
        {"model": "BPR", "train_neg_sample_args": {"dynamic": True, "candidate_num": 2, "sample_num": 3}},
        {"model": "BPR", "train_neg_sample_args": {}},
        {"model": "BPR", "LABEL_FIELD": None},
    ],
)
def test_what_a_model_can_do_without_is_accepted(settings):
    make_config(settings)


def test_models_are_told_apart_as_recbole_trains_them():
    models = general_recommenders()
    assert [name for name in models if not reads_negatives(name)] == [
        "CDAE", "DiffRec", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE",
    ]  # fmt: skip
    pointwise = [name for name in models if learns_by_gradient(name) and reads_negatives(name)]
    assert [name for name in pointwise if not learns_from_pairs(name)] == ["DMF", "FISM", "NAIS", "NNCF", "NeuMF"]
