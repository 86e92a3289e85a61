"""Settings that a model's training needs are checked before data are loaded."""

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
            {"model": "RD", "teacher_model": "ItemKNN", "own_loss": "softmax"},
            "teacher.own_loss=softmax: ItemKNN has no parameters to train by gradient; set it for the other role only, "
            "or leave it out",
        ),
        (
            {"model": "RecVAE", "weights_average": 0.9},
            "weights_average=0.9: RecVAE needs the alternating encoder and decoder updates of RecVAETrainer; set it "
            "for the other role only, or leave it out, or choose MultiVAE",
        ),
        (
            {"model": "RecVAE", "distill_learning_rate_decay": 0.8, "learning_rate_decay": 0.9},
            "learning_rate_decay=0.9: RecVAE needs the alternating encoder and decoder updates of RecVAETrainer; set "
            "it for the other role only, or leave it out, or choose MultiVAE",
        ),
        (
            {"student_model": "CDAE", "student.own_loss": "softmax", "student.softmax_negatives": 100},
            "student.softmax_negatives=100: CDAE always scores every item; leave it out",
        ),
        (
            {"model": "NeuMF", "own_loss": "softmax", "softmax_negatives": "all"},
            "softmax_negatives=all: NeuMF scores one pair at a time; name a small number of items",
        ),
        (
            {"model": "NeuMF", "own_loss": "softmax", "softmax_l2": 0.1},
            "softmax_l2=0.1: NeuMF has no vectors of users and items; leave it out, or use MF or BPR",
        ),
        (
            {"model": "BPR", "own_loss": "softmax", "softmax_negatives": "most"},
            "softmax_negatives='most': must be a number of items, all, or ~",
        ),
        (
            {
                "model": "BPR",
                "own_loss": "softmax",
                "train_neg_sample_args": {"dynamic": True, "candidate_num": 2},
            },
            "train_neg_sample_args: dynamic=True chooses negatives, but own_loss=softmax has none",
        ),
        (
            {"teacher_model": "CDAE", "loss_items": "sampled"},
            "student.loss_items=sampled: BPR has no such loss; set it in the block of a role that CDAE plays",
        ),
        (
            {"model": "CDAE", "loss_items": "sampled", "loss_type": "MSE"},
            "loss_items=sampled: needs loss_type=BCE, but it is MSE",
        ),
        (
            {"model": "CDAE", "loss_items": "sampled", "own_loss": "softmax"},
            "loss_items=sampled: own_loss=softmax takes the place of that loss; leave out one of them",
        ),
        (
            {"model": "CDAE", "loss_items": "sampled", "train_neg_sample_args": None},
            "loss_items=sampled: needs negatives; leave repeatable and train_neg_sample_args at their defaults",
        ),
        (
            {"student.negatives_leak_held_out": True, "repeatable": True},
            "student.negatives_leak_held_out=True: needs negatives that are no training items; leave repeatable and "
            "train_neg_sample_args at their defaults",
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
        {"model": "BPR", "own_loss": "softmax", "train_neg_sample_args": None},
        {"model": "NeuMF", "own_loss": "softmax", "train_neg_sample_args": None},
        {"model": "MF", "own_loss": "softmax", "softmax_negatives": "all", "softmax_cosine": True},
    ],
)
def test_what_a_model_can_do_without_is_accepted(settings):
    make_config(settings)


def test_models_are_told_apart_as_recbole_trains_them():
    models = general_recommenders()
    assert [name for name in models if not reads_negatives(name)] == [
        "CDAE", "DiffRec", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE",
    ]  # fmt: skip
    readers = [name for name in models if learns_by_gradient(name) and reads_negatives(name)]
    pointwise = [name for name in readers if not learns_from_pairs(name, make_config(model=name))]
    assert pointwise == ["DMF", "FISM", "NAIS", "NNCF", "NeuMF"]
