"""The paper's other data sets: small files of the published columns, run with the shipped settings as they are."""

from collections import Counter, defaultdict

import pytest

from recbole_bd import run_bd
from recbole_bd.data.split import load_split
from recbole_bd.errors import DataError
from tests.helpers.data import write_inter
from tests.helpers.settings import make_config

# Header as RecBole publishes the file, and which columns are user, item and time.
PUBLISHED = {
    "foursquare-tky-merged": (
        "user_id:token\tvenue_id:token\ttimezone_offset:float\ttimestamp:float\tclick_times:float", (0, 1, 3),
    ),
    "yelp": (
        "review_id:token\tuser_id:token\tbusiness_id:token\tstars:float\tuseful:float\tfunny:float\tcool:float\tdate:float",
        (1, 2, 7),
    ),
    "gowalla-merged": (
        "user_id:token\titem_id:token\ttimestamp:float\tlatitude:float\tlongitude:float\tnum_repeat:float", (0, 1, 2),
    ),
}  # fmt: skip
# The least number of different items of a user, and of different users of an item.
LEAST = {"foursquare-tky-merged": (6, 1), "yelp": (11, 1), "gowalla-merged": (10, 10)}
N_USERS, N_ITEMS, PER_USER = 110, 220, 20
START = 1_333_476_009  # seconds: April 2012


def interactions(least: int) -> list[tuple[str, str, int]]:
    """(user, item, second): most users stay, each item has ten of them; two users are at the edge of the filter.

    Times within a user are 7 s apart, in an order unlike that of the items, and rows are not in time order.
    """
    rows = []
    for user in range(N_USERS):
        items = [(PER_USER * user + k) % N_ITEMS for k in range(PER_USER)]
        rows += [(f"u{user}", f"i{item}", START + 7 * ((7 * k + user) % PER_USER)) for k, item in enumerate(items)]
    for name, items in (("enough", least), ("few", least - 1)):
        rows += [(name, f"i{3 * k}", START + 9 * k) for k in range(items)]
    # One item over and over is one item; the last time counts.
    rows += [("few", "i0", START + 10_000 + k) for k in range(5)]
    rows += [("enough", "i0", START + 20_000)]
    return rows[1::2] + rows[::2]


def by_hand(rows, least_items: int, least_users: int) -> dict[str, list[str]]:
    """Items of each user in time order after removal of repeats and filters, in plain Python."""
    latest = {}
    for user, item, second in sorted(rows, key=lambda row: row[2]):
        latest[user, item] = second
    kept = dict(latest)
    while True:
        of_user, of_item = Counter(user for user, _ in kept), Counter(item for _, item in kept)
        fewer = {
            (user, item): second
            for (user, item), second in kept.items()
            if of_user[user] >= least_items and of_item[item] >= least_users
        }
        if len(fewer) == len(kept):
            break
        kept = fewer
    histories = defaultdict(list)
    for (user, item), _ in sorted(kept.items(), key=lambda pair: pair[1]):
        histories[user].append(item)
    return dict(histories)


def write(folder, name, rows):
    header, (user_at, item_at, time_at) = PUBLISHED[name]
    lines = []
    for number, (user, item, second) in enumerate(rows):
        line = [f"r{number}" if column.endswith("token") else "1.0" for column in header.split("\t")]
        line[user_at], line[item_at], line[time_at] = user, item, f"{second}.0"
        lines.append(line)
    return write_inter(folder, name, lines, header=header)


def pairs(split, part) -> list[tuple[str, str]]:
    dataset = split.dataset
    users, items = split.pairs(part)
    fields = (dataset.uid_field, users), (dataset.iid_field, items)
    return sorted(zip(*(dataset.id2token(field, ids) for field, ids in fields), strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_filters_and_split_are_those_of_a_count_by_hand(name, tmp_path):
    rows = interactions(LEAST[name][0])
    write(tmp_path, name, rows)
    split = load_split(make_config(dataset=name, data_path=str(tmp_path), device="cpu"))
    histories = by_hand(rows, *LEAST[name])
    assert "few" not in histories
    assert "enough" in histories
    assert len(histories) == split.n_users - 1 > N_USERS
    assert pairs(split, "test") == sorted((user, items[-1]) for user, items in histories.items())
    assert pairs(split, "valid") == sorted((user, items[-2]) for user, items in histories.items())
    assert pairs(split, "train") == sorted((user, item) for user, items in histories.items() for item in items[:-2])
    assert ("enough", "i0") in pairs(split, "test"), "the last time of a repeated item counts"


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_epoch_runs_with_the_shipped_settings(name, tmp_path):
    write(tmp_path, name, interactions(LEAST[name][0]))
    result = run_bd(
        dataset=name,
        config_dict={
            "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved"), "device": "cpu", "epochs": 1,
            "distill_epochs": 1, "show_progress": False,
        },
    )  # fmt: skip
    assert result["valid_metric"] == "ndcg@50"
    assert result["teacher"]["parameters"] == 10 * result["student"]["parameters"]
    for role in ("teacher", "student"):
        for arm in ("separate", "continued", "distilled"):
            assert result[role][arm]["test"].keys() == {f"{m}@{k}" for m in ("hit", "ndcg") for k in (50, 100, 200)}


def test_gowalla_filters_users_and_places_until_both_have_ten(tmp_path):
    """A place with ten users of whom the filter of users takes one goes too, in a second pass."""
    rows = interactions(10)
    rows += [(f"u{user}", "fragile", START + 500) for user in range(9)] + [("lonely", "fragile", START + 500)]
    write(tmp_path, "gowalla-merged", rows)
    split = load_split(make_config(dataset="gowalla-merged", data_path=str(tmp_path), device="cpu"))
    assert "fragile" not in split.dataset.field2token_id["item_id"]
    assert "lonely" not in split.dataset.field2token_id["user_id"]


def test_a_file_of_other_columns_is_refused_by_name(tmp_path):
    write_inter(tmp_path, "yelp", [("u", "i", 1.0)], header="user_id:token\titem_id:token\ttimestamp:float")
    with pytest.raises(DataError, match=r"has no column business_id; it has user_id, item_id, timestamp"):
        load_split(make_config(dataset="yelp", data_path=str(tmp_path), device="cpu"))
