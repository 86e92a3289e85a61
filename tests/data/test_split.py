"""The split of the data: its parts, and data that is refused in one line."""

import pytest
import torch
from recbole.utils import init_seed

from recbole_bd.data.dataset import AtomicDataset
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, DataError
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.loaders import split_of
from tests.helpers.settings import make_config


def test_split_is_the_same_for_the_same_seed_and_another_for_another(quick):
    first, again, other = (split_of(quick, seed=seed)[1] for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.statistics()["users"] == 60
    assert sum(first.statistics()["split"].values()) == first.statistics()["interactions"] == 540


def test_seeds_share_the_split_and_candidates_of_one_split_seed(quick):
    sampled = {"eval_args": {"mode": "uni5"}}
    data = {
        case: split_of(quick, **sampled, seed=seed, split_seed=split_seed)[1].statistics()
        for case, (seed, split_seed) in {
            "alone": (1, None), "same": (1, 1), "shared": (2, 1), "other": (2, None)
        }.items()
    }  # fmt: skip
    assert data["alone"] == data["same"] == data["shared"]
    assert data["other"]["fingerprint"] != data["alone"]["fingerprint"]
    assert data["other"]["candidates"].keys() == {"valid", "test"}
    assert not set(data["other"]["candidates"].values()) & set(data["alone"]["candidates"].values())


def test_a_split_seed_leaves_the_seed_to_everything_after_the_split(quick):
    drawn = {}
    for split_seed in (None, 1, 2):
        split_of(quick, seed=1, split_seed=split_seed)
        drawn[split_seed] = torch.rand(3).tolist()
    split_of(quick, seed=1)
    init_seed(1, True)
    assert drawn[2] == torch.rand(3).tolist()
    assert drawn[1] == drawn[None]


def test_benchmark_files_are_the_split(tmp_path, quick):
    pairs = sorted(block_pairs())
    parts = {"train": pairs[::2], "valid": pairs[1::4], "test": pairs[3::4]}
    for part, rows in parts.items():
        write_inter(tmp_path, "fixed", rows, part)
    _, split = split_of(quick, dataset="fixed", data_path=str(tmp_path), benchmark_filename=["train", "valid", "test"])
    for part, rows in parts.items():
        users, items = split.pairs(part)
        tokens = zip(split.dataset.id2token("user_id", users), split.dataset.id2token("item_id", items), strict=True)
        assert sorted(tokens) == sorted(rows)


FEW = block_pairs(20, 12, 2, 4)
SEEN_ALL = [*FEW, *(("all", f"i{i}") for i in range(12))]
TIMES = "user_id:token\titem_id:token\ttimestamp:float\na\tb\t1600000000001\nc\td\t1600000000002\n"
BAD_DATA = {
    "no file": (lambda d: (d / "bad").mkdir(), {}, "bad.inter does not exist"),
    "empty file": (lambda d: write_text(d, ""), {}, "is empty"),
    "header only": (lambda d: write_text(d, "user_id:token\titem_id:token\n"), {}, "a header and no line after it"),
    "no header": (lambda d: write_text(d, "1\t2\n3\t4\n"), {}, "line 1: expected a header"),
    "missing column": (lambda d: write_text(d, "user_id:token\tthing:token\na\tb\n"), {}, "no column item_id; it has"),
    "missing rating": (lambda d: write_inter(d, "bad", block_pairs()),
                       {"load_col": {"inter": ["user_id", "item_id", "rating"]}}, "no column rating"),
    "nobody left": (lambda d: write_inter(d, "bad", block_pairs()), {"user_inter_num_interval": "[1000,inf)"},
                    "no user or item is left after filtering"),
    "one user": (lambda d: write_inter(d, "bad", [("u", f"i{i}") for i in range(20)]), {}, "1 user"),
    "one item": (lambda d: write_inter(d, "bad", [(f"u{i}", "i") for i in range(20)]), {}, "1 item"),
    "has seen all": (lambda d: write_inter(d, "bad", SEEN_ALL),
                     {}, "has seen every item"),
    "topk": (lambda d: write_inter(d, "bad", FEW), {"topk": [5, 100]}, "above the number of items, 12"),
    "bad type": (lambda d: write_text(d, "user_id:token\titem_id:thing\na\tb\nc\td\n"), {}, "not supported"),
    "item not loaded": (lambda d: write_inter(d, "bad", FEW), {"load_col": {"inter": ["user_id"]}},
                        "lacks item_id, the column that ITEM_ID_FIELD names"),
    "no time": (lambda d: write_inter(d, "bad", FEW), {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}},
                "time of the interactions, which is not loaded; name its column in TIME_FIELD .timestamp. and"),
    "filter by what is not loaded": (lambda d: write_inter(d, "bad", FEW), {"val_interval": {"rating": "[3,inf)"}},
                                     "name it in load_col"),
    "interval of ids": (lambda d: write_inter(d, "bad", FEW), {"val_interval": {"user_id": "[3,inf)"}},
                        "user_id is a column of token, which has no order: expected a list of the values to keep"),
    "seconds for milliseconds": (lambda d: write_text(d, TIMES), {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "val_interval": {"timestamp": "[1500000000,1700000000]"}},
        "keeps nothing of timestamp: its values are from 1600000000001 to 1600000000002"),
    "no such item": (lambda d: write_text(d, TIMES), {"val_interval": {"item_id": ["z"]}},
                     "keeps nothing of item_id: its values are such as b, d"),
    "list of numbers": (lambda d: write_text(d, "user_id:token\titem_id:token\trating:float\na\tb\t1\nc\td\t2\n"),
                        {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "val_interval": {"rating": [2]}},
                        "val_interval: rating=.2.: expected intervals"),
    "empty validation": (lambda d: [write_inter(d, "bad", block_pairs(), p) for p in ("train", "test")]
                         and write_inter(d, "bad", [], "valid"), {"benchmark_filename": ["train", "valid", "test"]},
                         "a header and no line after it"),
}  # fmt: skip


def write_text(folder, text):
    (folder / "bad").mkdir()
    (folder / "bad" / "bad.inter").write_text(text)


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line_with_the_way_out(case, tmp_path, quick):
    make, settings, message = BAD_DATA[case]
    make(tmp_path)
    with pytest.raises(BDError, match=message) as error:
        load_split(make_config({**quick, "dataset": "bad", "data_path": str(tmp_path), **settings}))
    assert "\n" not in str(error.value)


def test_unknown_data_set_names_the_folder(tmp_path, quick):
    config = make_config({**quick, "dataset": "nowhere", "data_path": str(tmp_path)})
    with pytest.raises(
        DataError, match=r"nowhere does not exist and RecBole has no download of that name\. Put nowhere"
    ):
        load_split(config)


@pytest.mark.parametrize(("name", "meant"), [("ml100k", "ml-100k"), ("block", "blocks")])
def test_a_misspelt_data_set_is_told_the_nearest(name, meant, quick):
    with pytest.raises(DataError, match=f"no download of that name. Did you mean {meant}\\? Put {name}.inter there"):
        load_split(make_config({**quick, "dataset": name}))


def test_known_data_set_without_network_says_so(tmp_path, quick, monkeypatch):
    import recbole.data.dataset.dataset as host

    def refused(url):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(host, "decide_download", refused)
    config = make_config({**quick, "dataset": "yelp", "data_path": str(tmp_path)})
    with pytest.raises(DataError, match=r"download from https.* failed .Network"):
        load_split(config)


def test_a_path_that_no_system_takes_is_named_and_shortened(quick):
    config = make_config({**quick, "dataset": "bad", "data_path": f"/{'x' * 300}"})
    with pytest.raises(DataError) as error:
        load_split(config)
    assert str(error.value) == f"data_path: '/{'x' * 199}'... (305 characters): File name too long"


@pytest.mark.parametrize(
    ("raised", "said"),
    [(NotImplementedError("no  such\nsplit"), "no such split"), (AssertionError(), "AssertionError")],
)
def test_another_refusal_of_recbole_is_one_line_with_the_name_of_the_data(raised, said, quick, monkeypatch):
    def refuse(_):
        raise raised

    monkeypatch.setattr(AtomicDataset, "build", refuse)
    with pytest.raises(DataError) as error:
        load_split(make_config(quick))
    assert str(error.value) == f"data set blocks: its files do not fit the settings: {said}"
