import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.errors import ConfigError, DataError
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.sampler import top_lists
from recbole_bd.serving.item_choice import ItemChoice, choose_items
from recbole_bd.serving.recommend import RecommendationSummary, recommend
from recbole_bd.serving.recommender import Recommender, popular_items
from tests.helpers.data import block_pairs, write_inter, write_some_of_citeulike
from tests.helpers.paths import needs_data
from tests.helpers.serving import COUNT, hit_rate, host_lists, lists_of, read_rows, reference, settings_of
from tests.helpers.settings import alone


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("at_once", "rows"), [(1, 2**20), (7, 2**20), (1000, 2**20), (1000, 1), (1000, 16)])
def test_every_form_holds_every_user_in_original_ids(student, tmp_path, ending, at_once, rows, monkeypatch):
    monkeypatch.setattr("recbole_bd.serving.recommend._USERS_AT_ONCE", at_once)
    monkeypatch.setattr("recbole_bd.serving.recommend._ROWS_AT_ONCE", rows)
    monkeypatch.setitem(top_lists._SCORES_AT_ONCE, "cpu", at_once * 50)
    recommender = Recommender(student.role, student.split, COUNT)
    outcome = recommend(recommender, student.split, None, tmp_path / f"r.{ending}")
    assert outcome == RecommendationSummary(users=60, rows=60 * COUNT, fewest=COUNT, most=COUNT)
    dataset = student.split.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    expected = [
        (user_ids[user], item_ids[item], rank, score)
        for user in range(1, 61)
        for rank, (score, item) in enumerate(reference(student, user, COUNT), start=1)
    ]
    found = read_rows(tmp_path / f"r.{ending}")
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in expected], rel=1e-6)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_unknown_users_are_skipped_or_given_popular_items_or_refused(student, tmp_path, ending):
    out = tmp_path / f"r.{ending}"
    recommender = Recommender(student.role, student.split, COUNT)
    users = ["nobody", "u3", "niemand"]
    outcome = recommend(recommender, student.split, users, out)
    assert (outcome.users, outcome.unknown) == (1, ["nobody", "niemand"])
    assert {row[0] for row in read_rows(out)} == {"u3"}
    outcome = recommend(recommender, student.split, users, out, "popular")
    assert (outcome.users, outcome.unknown) == (3, ["nobody", "niemand"])
    rows = read_rows(out)
    assert list(dict.fromkeys(row[0] for row in rows)) == users
    counts = np.bincount(student.split.pairs("train")[1].numpy(), minlength=student.split.n_items)
    ids = student.split.dataset.field2id_token["item_id"]
    of_nobody = [row for row in rows if row[0] == "nobody"]
    assert [row[3] for row in of_nobody] == [None] * COUNT
    assert [counts[list(ids).index(row[1])] for row in of_nobody] == sorted(counts)[: -COUNT - 1 : -1]
    out.unlink()
    with pytest.raises(DataError) as error:
        recommend(recommender, student.split, users, out, "error")
    assert str(error.value) == (
        "2 of 3 users are not in the data set blocks: nobody, niemand; --unknown=skip leaves them out, "
        "--unknown=popular gives them popular items"
    )
    with pytest.raises(DataError) as error:
        recommend(recommender, student.split, ["nobody", "[PAD]"], out)
    assert str(error.value) == (
        "2 of 2 users are not in the data set blocks: nobody, [PAD]; --unknown=popular gives them popular items"
    )
    assert not out.exists()


def test_a_baseline_recommends_too(block_data, tmp_path):
    settings = alone(settings_of(tmp_path, block_data))
    result = run_bd("ItemKNN", config_dict={key: settings[key] for key in settings if key != "distill_epochs"})
    trained = load_trained(model_files(result["run_folder"])["model"])
    outcome = recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.csv")
    assert outcome.users == 1
    assert len(read_rows(tmp_path / "r.csv")) == 3
    with pytest.raises(ConfigError):
        recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.xls")


def test_where_no_user_is_known_all_get_popular_items(student, tmp_path):
    recommender = Recommender(student.role, student.split, 3)
    users = ["nobody", "niemand"]
    outcome = recommend(recommender, student.split, users, tmp_path / "r.csv", "popular")
    assert (outcome.users, outcome.unknown) == (2, users)
    ids = student.split.dataset.field2id_token["item_id"]
    best = [(ids[item], place, None) for place, item in enumerate(popular_items(student.split, 3).tolist(), start=1)]
    assert read_rows(tmp_path / "r.csv") == [(user, *row) for user in users for row in best]


@pytest.mark.slow
@pytest.mark.parametrize("repeatable", [False, True])
def test_lists_have_the_hit_rate_of_the_record(repeatable, tmp_path):
    """A third of the pairs are in the data twice: the parts share some."""
    pairs = block_pairs(per_user=8)
    write_inter(tmp_path, "twice", pairs + pairs[::3])
    settings = settings_of(tmp_path, tmp_path, dataset="twice", repeatable=repeatable, topk=[5, 3])
    result = run_bd(config_dict=settings)
    for role, file in model_files(result["run_folder"]).items():
        trained = load_trained(file)
        recommend(Recommender(trained.role, trained.split, 5), trained.split, None, tmp_path / "r.csv")
        lists = lists_of(tmp_path / "r.csv", trained.split)
        expected = host_lists(trained, 5)
        assert {user: lists[user] for user in expected} == expected
        for count in (3, 5):
            assert round(hit_rate(lists, trained.split, count), 6) == result[role]["distilled"]["test"][f"hit@{count}"]
        recommend(Recommender(trained.role, trained.split, 5, "train"), trained.split, None, tmp_path / "t.csv")
        assert lists_of(tmp_path / "t.csv", trained.split) != lists


@needs_data("citeulike")
@pytest.mark.slow
def test_lists_of_fixed_parts_have_the_hit_rate_of_the_record(tmp_path):
    folder = str(write_some_of_citeulike(tmp_path))
    settings = {"dataset": "citeulike", "data_path": folder, "checkpoint_dir": str(tmp_path / "saved"), "epochs": 8}
    settings |= {"benchmark_filename": ["train", "valid", "test"], "metrics": ["Hit"], "valid_metric": "Hit@10"}
    settings |= {"topk": [10, 50], "embedding_size": 16, "learning_rate": 0.01, "device": "cpu", "show_progress": False}
    result = run_bd("BPR", config_dict={**settings, "metric_decimal_place": 8})
    trained = load_trained(model_files(result["run_folder"])["model"])
    recommend(Recommender(trained.role, trained.split, 50), trained.split, None, tmp_path / "r.csv")
    lists = lists_of(tmp_path / "r.csv", trained.split)
    rates = {f"hit@{count}": round(hit_rate(lists, trained.split, count), 8) for count in (10, 50)}
    assert rates == result["model"]["separate"]["test"]
    recommend(Recommender(trained.role, trained.split, 50, "train"), trained.split, None, tmp_path / "r.csv")
    assert lists_of(tmp_path / "r.csv", trained.split) != lists


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A model of data whose later parts have users v0 to v2 and items j0 and j1 without training interactions."""
    folder = tmp_path_factory.mktemp("cold")
    pairs = block_pairs()
    write_inter(folder, "cold", [pair for number, pair in enumerate(pairs) if number % 4], "train")
    later = [*pairs[::4], ("v0", "i1"), ("v1", "i2"), ("u5", "j0")]
    write_inter(folder, "cold", later, "valid")
    write_inter(folder, "cold", [*pairs[2::40], ("v1", "i3"), ("v2", "j1")], "test")
    parts = ["train", "valid", "test"]
    settings = settings_of(folder, folder, dataset="cold", benchmark_filename=parts, epochs=1)
    result = run_bd("BPR", config_dict=alone({key: settings[key] for key in settings if key != "distill_epochs"}))
    return load_trained(model_files(result["run_folder"])["model"])


def test_users_without_training_are_treated_as_unknown_ones(cold, tmp_path):
    recommender, out = Recommender(cold.role, cold.split, COUNT), tmp_path / "r.csv"
    summary = recommend(recommender, cold.split, None, out)
    assert (summary.users, summary.unknown, summary.untrained) == (60, [], ["v0", "v1", "v2"])
    assert not {"v0", "v1", "v2"} & lists_of(out, cold.split).keys()
    users = ["nobody", "v1", "u7", "v2"]
    summary = recommend(recommender, cold.split, users, out, "popular")
    assert (summary.users, summary.unknown, summary.untrained) == (4, ["nobody"], ["v1", "v2"])
    lists = lists_of(out, cold.split)
    best = popular_items(cold.split, 60).tolist()
    own = cold.split.dataset.field2token_id["item_id"]["i2"]  # the validation item of v1
    assert lists["nobody"] == lists["v2"] == best[:COUNT]
    assert lists["v1"] == [item for item in best if item != own][:COUNT]
    assert lists["u7"] == [
        item for _, item in reference(cold, cold.split.dataset.field2token_id["user_id"]["u7"], COUNT)
    ]
    assert [row[3] is None for row in read_rows(out)] == [user != "u7" for user in users for _ in range(COUNT)]
    with pytest.raises(DataError) as error:
        recommend(recommender, cold.split, users, out, "error")
    assert str(error.value) == (
        "1 of 4 users are not in the data set cold: nobody; 2 of 4 users are without training interactions: v1, v2; "
        "--unknown=skip leaves them out, --unknown=popular gives them popular items"
    )


def test_rows_with_untrained_items_are_counted_and_can_be_dropped(cold, tmp_path):
    numbers = cold.split.dataset.field2token_id["item_id"]
    fresh = {numbers["j0"], numbers["j1"]}
    out, everything = tmp_path / "r.csv", cold.split.n_items - 1
    summary = recommend(Recommender(cold.role, cold.split, everything), cold.split, ["u5", "u6"], out)
    lists = lists_of(out, cold.split)
    assert (fresh & set(lists["u5"]), fresh & set(lists["u6"])) == ({numbers["j1"]}, fresh)  # u5 has j0 in validation
    assert (summary.untrained_rows, summary.untrained_items) == (3, 2)
    allowed = choose_items(cold.split, ItemChoice(untrained="drop")).allowed
    summary = recommend(
        Recommender(cold.role, cold.split, everything, allowed=allowed), cold.split, ["u5", "no"], out, "popular"
    )
    assert (summary.untrained_rows, summary.untrained_items) == (0, 0)
    lists = lists_of(out, cold.split)
    assert not fresh & {*lists["u5"], *lists["no"]}
    assert len(lists["no"]) == everything - 2


def test_what_was_written_is_counted(student, tmp_path):
    split = student.split
    allowed = torch.zeros(split.n_items, dtype=torch.bool)
    taken = Recommender(student.role, split, 1).excluded_items(torch.tensor([1]))[0]
    allowed[taken[:3]] = True
    out = tmp_path / "r.jsonl"
    summary = recommend(Recommender(student.role, split, 500, allowed=allowed), split, None, out)
    lists = lists_of(out, split)
    lengths = [len(items) for items in lists.values()]
    assert "u0" not in lists
    assert (summary.users, summary.rows, summary.fewest, summary.most) == (
        len(lengths),
        sum(lengths),
        min(lengths),
        max(lengths),
    )
    assert (summary.fewer, summary.without_items) == (sum(length < 3 for length in lengths), 60 - len(lengths))
    assert (summary.fewest, summary.most, summary.without_items > 0) == (1, 3, True)
    out.unlink()
    with pytest.raises(DataError) as error:
        recommend(Recommender(student.role, split, 500, allowed=allowed), split, ["u0"], out)
    assert str(error.value) == (
        "no item is left for any of 1 users: --exclude leaves out for each all that may be recommended; "
        "--exclude=nothing leaves out none"
    )
    assert list(tmp_path.iterdir()) == []
