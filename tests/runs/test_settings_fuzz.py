"""Whatever RecBole's blocks hold, there is a run or an error of one line, never a traceback."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_bd import run_bd
from recbole_bd.config.config import BDConfig
from recbole_bd.config.unread_keys import NOT_READ, READ_IF, settings_notes
from recbole_bd.errors import BDError
from recbole_bd.model import METHODS
from recbole_bd.runs.prepare import prepare
from tests.helpers.bounds import tried
from tests.helpers.counts import tally
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import QUICK

# Whatever is run, its figures can be made.
pytestmark = pytest.mark.figures

ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    10**9,
    float("nan"),
    float("inf"),
    "",
    "None",
    "none",
    "x",
    [],
    [1],
    {},
    {"a": 1},
]
odd = st.sampled_from(ODD)
COLUMNS = ["user_id", "item_id", "rating", "timestamp", "label", "tags", "nothing"]
columns = st.sampled_from(COLUMNS)


def often(*plausible):
    """Mostly one of the plausible values, at times an odd one."""
    return st.sampled_from(plausible) | st.sampled_from(plausible) | st.sampled_from(plausible) | odd


def block(known: dict, others=("sample_nun", "unifrom", "by", "x")):
    """A block with some of its keys, now and then one that is unknown, or no block at all."""
    right = st.fixed_dictionaries({}, optional=known)
    extra = st.dictionaries(st.sampled_from(others), odd, min_size=1, max_size=1)
    wrong = st.tuples(right, extra).map(lambda pair: {**pair[0], **pair[1]})
    return right | right | right | wrong | odd


intervals = often("[0,inf)", "[2,inf)", "(1,9];[12,20]", "[5", "[9,1]", "[1000,inf)", "inf", "[2, 5]")
NEGATIVES = block({
    "distribution": often("uniform", "popularity", None), "sample_num": often(1, 2, 3), "alpha": often(1.0, 0.5, 0, -1),
    "dynamic": often(True, False), "candidate_num": often(0, 1, 3),
}, ("sample_nun", "uniform", "popularity", "by"))  # fmt: skip
MODE = often("full", "uni5", "pop5", "labeled", "uni", "uni0", "best")
EVAL_ARGS = block({
    "split": often({"RS": [8, 1, 1]},
                   {"LS": "valid_and_test"}, {"TS": [8, 1, 1]}, {"RS": [1, 0, 0]}, {"LS": "valid_only"}),
    "group_by": often("user", "none", None, "item"), "order": often("RO", "TO"),
    "mode": MODE | block({"valid": MODE, "test": MODE}, ("train",)),
}, ("mod", "spilt"))  # fmt: skip
METRICS = st.lists(often("NDCG", "Hit", "AUC", "RMSE", "LogLoss", "GAUC", "TailPercentage", "Gini"), max_size=3) | odd
LOAD = block({
    "inter": st.lists(columns, max_size=7).map(lambda more: ["user_id", "item_id", *more]) | often("*", ["user_id"]),
    "user": often("*", ["user_id", "age"], ["age"]), "item": often("*", ["item_id"], ["price"]), "kg": often("*"),
}, ("intre", "emb"))  # fmt: skip
BLOCKS = {
    "train_neg_sample_args": NEGATIVES, "student.train_neg_sample_args": NEGATIVES, "eval_args": EVAL_ARGS,
    "clip_grad_norm": block({"max_norm": often(1.0, 5), "norm_type": often(1, 2.0)}, ("max", "error_if_nonfinite")),
    "metrics": METRICS, "valid_metric": often("NDCG@5", "AUC", "RMSE", "Hit@5", "NDCG"), "topk": often([5], 5, [1, 5]),
    "user_inter_num_interval": intervals, "item_inter_num_interval": intervals,
    "val_interval": st.dictionaries(columns, intervals | st.lists(odd, max_size=2), max_size=2) | odd,
    "rm_dup_inter": often("first", "last", None, "both"), "load_col": LOAD, "unload_col": LOAD,
    "unused_col": block({"inter": st.lists(columns, max_size=2), "user": often(["age"])}, ("intre",)),
    "threshold": st.dictionaries(columns, often(3, 4.5), max_size=2) | odd,
    "LABEL_FIELD": often("label", "rating", "user_id", None), "TIME_FIELD": often("timestamp", "rating", "item_id"),
    "USER_ID_FIELD": often("user_id", "item_id"), "NEG_PREFIX": often("neg_", ""), "RATING_FIELD": often("rating", "x"),
    "seq_len": st.dictionaries(columns, often(2), max_size=2) | odd,
    "alias_of_user_id": st.lists(columns, max_size=2) | odd, "alias_of_item_id": st.lists(columns, max_size=2) | odd,
    "normalize_field": st.lists(columns, max_size=2) | odd, "normalize_all": often(True, False),
    "numerical_features": st.lists(columns, max_size=2) | odd,
    "discretization": st.dictionaries(columns, often({"method": "ED", "bucket": 3}, {"method": "LD"}), max_size=1),
    "preload_weight": st.dictionaries(columns, columns, max_size=1) | odd,
    "additional_feat_suffix": often(["emb"], []),
    "benchmark_filename": often(None, ["train", "valid", "test"], ["a", "b"]), "transform": often(None, "mask_itemseq"),
    "repeatable": often(True, False), "tail_ratio": often(0.2, 3), "worker": often(0), "learner": often("adam", "sgd"),
    "own_loss": often("softmax", "model"), "softmax_negatives": often(3, "all", None, 0, "most"),
    "softmax_l2": often(0.1, -1), "softmax_cosine": often(True), "weights_average": often(0.5, None, 1.0),
    "learning_rate_decay": often(0.5, 0, 1.5), "distill_learning_rate_decay": often(0.5, 1.0, -1),
    "filter_inter_by_user_or_item": often(True, False), "field_separator": often("\t", ","), "encoding": often("utf-8"),
}  # fmt: skip
MODELS = [
    {"model": "BPR"}, {"model": "NeuMF"}, {"model": "CDAE"}, {"model": "ItemKNN"}, {"model": "DMF"},
    {"model": "MF"},
    {"teacher_model": "BPR", "student_model": "NeuMF"}, {"teacher_model": "MultiVAE", "student_model": "BPR"},
    {"model": "RRD", "teacher_model": "ItemKNN", "student_model": "BPR"},
]  # fmt: skip
BASIS = {
    **{key: value for key, value in QUICK.items() if "." not in key and key != "refresh_period"},
    "dataset": "rated", "epochs": 1,
}  # fmt: skip
# RecBole deletes from the dict that it walks.
TOKENS_AS_NUMBERS = {"discretization": {"user_id": {"method": "LD"}}, "numerical_features": ["rating", "user_id"]}
chosen = st.tuples(
    st.sampled_from(MODELS),
    st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=3, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: BLOCKS[key] for key in keys})
    ),
).map(lambda pair: {**pair[0], **{k: v for k, v in pair[1].items() if "model" not in pair[0] or "." not in k}})


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A data path with the set `rated`: ratings, times, labels and tags, in one file and in three parts."""
    folder, generator = tmp_path_factory.mktemp("fuzz"), np.random.default_rng(0)
    rows = [
        (
            *pair,
            generator.integers(1, 6),
            1_600_000_000 + 100 * n,
            int(generator.random() < 0.5),
            "a b"[: 1 + 2 * (n % 2)],
        )
        for n, pair in enumerate(block_pairs())
    ]
    generator.shuffle(rows)
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tlabel:float\ttags:token_seq"
    write_inter(folder, "rated", rows, header=header)
    for part, some in (("train", rows[:400]), ("valid", rows[400:460]), ("test", rows[460:])):
        write_inter(folder, "rated", some, part, header=header)
    (folder / "rated" / "rated.user").write_text(
        "user_id:token\tage:float\n" + "".join(f"u{u}\t{u}\n" for u in range(60))
    )
    (folder / "rated" / "rated.item").write_text(
        "item_id:token\tprice:float\n" + "".join(f"i{i}\t{i}\n" for i in range(48))
    )
    return folder


def refused(attempt) -> str:
    """The error of one line that an attempt ends with; empty if it succeeds."""
    try:
        attempt()
    except BDError as error:
        said = str(error)
    else:
        return ""
    assert said
    assert len(said.splitlines()) == 1, said
    assert "Field [" not in said, said
    return said


@pytest.mark.slow
def test_any_block_is_prepared_or_refused_in_one_line(rated, pytestconfig):
    @tried(200)
    @given(chosen)
    @example({"model": "DMF", "normalize_all": True, **TOKENS_AS_NUMBERS})
    def attempt(settings):
        made = []

        def configure():
            made.append(BDConfig(config_dict={**BASIS, "data_path": str(rated), **settings}, methods=METHODS))

        if refused(configure):
            tally(pytestconfig, "RecBole's blocks: refused before data are loaded")
            return
        assert all(note.count("\n") == 0 for note in settings_notes(made[0]))
        is_refused = refused(lambda: prepare(made[0]))
        tally(pytestconfig, f"RecBole's blocks: {'refused by the data' if is_refused else 'prepared'}")

    attempt()


@pytest.mark.slow
def test_any_block_gives_a_run_or_one_line(rated, tmp_path, pytestconfig):
    @tried(30)
    @given(chosen)
    def attempt(settings):
        two = {"distill_epochs": 1} if settings.get("model", "BD") in METHODS else {}
        more = {"data_path": str(rated), "checkpoint_dir": str(tmp_path), "warmup_cache": False}
        ended = refused(lambda: run_bd(config_dict={**BASIS, **two, **more, **settings}))
        tally(pytestconfig, f"RecBole's blocks: {'refused by a run' if ended else 'run'}")

    attempt()


@given(st.sampled_from([*NOT_READ, *READ_IF]), odd)
def test_any_value_of_a_setting_that_is_not_read_is_told_or_refused(key, value):
    def tell():
        config = BDConfig(config_dict={"dataset": "blocks", key: value}, methods=METHODS)
        assert all("\n" not in note for note in settings_notes(config))

    refused(tell)
