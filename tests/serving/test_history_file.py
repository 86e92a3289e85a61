"""Histories of a file: what they mean, and what is wrong in one line."""

import pytest
import torch

from recbole_bd.data.sequences import WHOLE
from recbole_bd.errors import DataError
from recbole_bd.serving.history_file import read_histories
from recbole_bd.serving.recommend import recommend
from recbole_bd.serving.recommender import Recommender
from tests.helpers.histories import items_in_time
from tests.helpers.serving import COUNT, lists_of, next_items_of, read_rows


@pytest.fixture
def read(in_time, tmp_path):
    """Read a file of some text."""

    def run(text: str, unknown: str = "error"):
        path = tmp_path / "histories.tsv"
        path.write_text(text, encoding="utf-8")
        return read_histories(path, in_time["SASRec"].split, unknown)

    return run


def test_histories_are_rows_of_a_user_and_items(read, in_time):
    given = read("\ufeffuser_id:token\titem_id_list:token_seq\nu1\ti3 i4  i3\n\n new \ti5\nempty\t\n")
    numbers, users = (in_time["SASRec"].split.dataset.field2token_id[field] for field in ("item_id", "user_id"))
    assert given.names == ["u1", "new", "empty"]
    assert given.users.tolist() == [users["u1"], 0, 0]
    histories = given.sequences.of_users(torch.arange(3), WHOLE)
    rows = [[numbers[item] for item in row] for row in (["i3", "i4", "i3"], ["i5"], [])]
    assert histories["item_id_list"].tolist() == [row + [0] * (6 - len(row)) for row in rows]
    assert histories["item_length"].tolist() == [3, 1, 1]
    assert given.unknown == []
    items = given.items(in_time["SASRec"].split.n_items)
    assert [items.of(torch.tensor([row]))[1].tolist() for row in range(3)] == [sorted(set(row)) for row in rows]


def test_items_that_the_data_lacks_are_refused_or_skipped(read):
    text = "a\ti1 gone i2 gone\nb\tnever\n"
    with pytest.raises(DataError) as error:
        read(text)
    assert str(error.value).endswith(
        "histories.tsv: 2 of 4 items are not in the data set chains: gone, never; --unknown_items=skip passes over them"
    )
    given = read(text, "skip")
    assert given.unknown == ["gone", "never"]
    assert (given.sequences.ends[WHOLE] - given.sequences.starts).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no history: write a user, a tab and items on each line"),
        ("user_id\titem_id_list\n\n", "contains no history"),
        ("a\ti1\n\nb i2\n", r"line 3: expected a user, a tab and items, found \['b i2'\]"),
        ("\ti1\n", "line 1: expected a user, a tab and items"),
        ("a\ti1\t3\n", "line 1: expected a user, a tab and items"),
        ("a\ti1\n\nb\ti2\na\ti3\n", "user a is on the lines 1, 4: write one for each"),
    ],
)
def test_a_malformed_file_is_one_line(text, message, read):
    with pytest.raises(DataError, match=message) as error:
        read(text)
    assert "\n" not in str(error.value)


def test_histories_that_the_data_has_give_what_its_users_get(read, in_time, tmp_path):
    """A user of the data or not, and items before the last `MAX_ITEM_LIST_LENGTH` ones, make no difference."""
    sequences = items_in_time()
    lines = [f"{user}\t{' '.join(items)}" for user, items in sequences.items()]
    lines += [f"new {user}\t{' '.join(items[-6:])}" for user, items in sequences.items()]
    given, out = read("\n".join(lines)), tmp_path / "r.csv"
    for name, trained in in_time.items():
        recommend(Recommender(trained.role, trained.split, COUNT), trained.split, None, out)
        of_users = lists_of(out, trained.split)
        summary = recommend(Recommender(trained.role, trained.split, COUNT, given=given), trained.split, None, out)
        assert (summary.users, summary.unknown, summary.untrained) == (120, [], []), name
        found = lists_of(out, trained.split)
        assert {user: found[user] for user in of_users} == of_users
        assert {user: found[f"new {user}"] for user in of_users} == of_users


def test_what_a_history_holds_is_left_out_if_asked(read, in_time, tmp_path):
    trained, out = in_time["GRU4Rec"], tmp_path / "r.jsonl"
    sequence = [f"i{number}" for number in (3, 9, 1, 3, 7, 8, 2, 4)]  # longer than a history
    given = read(f"a\t{' '.join(sequence)}\n")
    for exclude, left_out in (("measured", []), ("nothing", []), ("train", sequence), ("known", sequence)):
        recommender = Recommender(trained.role, trained.split, 30, exclude, given=given)
        recommend(recommender, trained.split, None, out)
        expected = [item for _, item in next_items_of(trained, sequence, 30, left_out)]
        ids = trained.split.dataset.field2id_token["item_id"]
        assert [row[1] for row in read_rows(out)] == [ids[item] for item in expected], exclude


def test_histories_without_a_known_item_are_like_unknown_users(read, in_time, tmp_path):
    trained, out = in_time["SASRec"], tmp_path / "r.csv"
    recommender = Recommender(trained.role, trained.split, COUNT, given=read("a\ti1\nb\tgone\nc\t\n", "skip"))
    summary = recommend(recommender, trained.split, None, out)
    assert (summary.users, summary.untrained, summary.reason) == (1, ["b", "c"], "without an item of the data")
    assert recommend(recommender, trained.split, None, out, "popular").users == 3
    assert [row[3] is None for row in read_rows(out)] == [False] * COUNT + [True] * 2 * COUNT
    with pytest.raises(DataError, match="2 of 3 users are without an item of the data: b, c; --unknown=skip leaves"):
        recommend(recommender, trained.split, None, out, "error")


def test_a_model_with_vectors_of_users_knows_those_of_the_data_alone(read, in_time, monkeypatch, tmp_path):
    monkeypatch.setattr("recbole_bd.serving.recommender.WITH_USER_VECTORS", {"SASRec"})
    trained = in_time["SASRec"]
    recommender = Recommender(trained.role, trained.split, COUNT, given=read("new\ti1\nu3\ti2 i4\n"))
    summary = recommend(recommender, trained.split, None, tmp_path / "r.csv")
    assert (summary.users, summary.unknown, summary.untrained) == (1, ["new"], [])
    assert {row[0] for row in read_rows(tmp_path / "r.csv")} == {"u3"}
