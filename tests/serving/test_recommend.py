import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_bd import run_bd
from recbole_bd.errors import ConfigError, DataError, InstallationError
from recbole_bd.runs.trained_model import load_trained, model_files
from recbole_bd.sampler import top_lists
from recbole_bd.serving.recommend import read_users, recommend, shortened, writer_of
from recbole_bd.serving.recommender import Recommender, popular_items
from tests.helpers.serving import COUNT, read_rows, reference, settings_of
from tests.helpers.settings import alone


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_every_form_holds_every_user_in_original_ids(student, tmp_path, ending, at_once, monkeypatch):
    monkeypatch.setattr("recbole_bd.serving.recommend._USERS_AT_ONCE", at_once)
    monkeypatch.setitem(top_lists._SCORES_AT_ONCE, "cpu", at_once * 50)
    recommender = Recommender(student.role, student.split, COUNT)
    outcome = recommend(recommender, student.split, None, tmp_path / f"r.{ending}")
    assert (outcome.users, outcome.unknown) == (60, [])
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
    with pytest.raises(DataError, match=r"2 of 3 users are not in the data set blocks: nobody, niemand; --unknown="):
        recommend(recommender, student.split, users, out, "error")
    assert not out.exists()


def test_users_are_read_one_a_line(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("\ufeffuser_id:token\n a b \n\nc\na b\n", encoding="utf-8")
    assert read_users(path, "user_id") == ["a b", "c"]
    path.write_text("c\nuser_id\n")
    assert read_users(path, "user_id") == ["c", "user_id"]
    path.write_text("user_id\n\n")
    with pytest.raises(DataError, match=r"users\.txt contains no users"):
        read_users(path, "user_id")
    with pytest.raises(DataError, match=r"gone\.txt cannot be read"):
        read_users(tmp_path / "gone.txt", "user_id")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"users\.txt cannot be read"):
        read_users(path, "user_id")


def test_a_baseline_recommends_too(block_data, tmp_path):
    settings = alone(settings_of(tmp_path, block_data))
    result = run_bd("ItemKNN", config_dict={key: settings[key] for key in settings if key != "distill_epochs"})
    trained = load_trained(model_files(result["run_folder"])["model"])
    outcome = recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.csv")
    assert outcome.users == 1
    assert len(read_rows(tmp_path / "r.csv")) == 3
    with pytest.raises(ConfigError):
        recommend(Recommender(trained.role, trained.split, 3), trained.split, ["u1"], tmp_path / "r.xls")


def test_parquet_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InstallationError) as error:
        writer_of(Path("r.parquet"))
    assert str(error.value) == 'parquet files need pyarrow: pip install "recbole-bd[export]", or write .csv or .jsonl'


def test_where_no_user_is_known_all_get_popular_items(student, tmp_path):
    recommender = Recommender(student.role, student.split, 3)
    users = ["nobody", "niemand"]
    outcome = recommend(recommender, student.split, users, tmp_path / "r.csv", "popular")
    assert (outcome.users, outcome.unknown) == (2, users)
    ids = student.split.dataset.field2id_token["item_id"]
    best = [(ids[item], place, None) for place, item in enumerate(popular_items(student.split, 3).tolist(), start=1)]
    assert read_rows(tmp_path / "r.csv") == [(user, *row) for user in users for row in best]


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "u0"), (5, "u0, u1, u2, u3, u4"), (6, "u0, u1, u2, u3, u4, ...")]
)
def test_of_many_names_the_first_are_shown(count, text):
    assert shortened([f"u{number}" for number in range(count)]) == text
