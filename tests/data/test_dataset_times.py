"""Times that order, divide or bound the interactions: the file's exact numbers, compared with Python's own."""

import random
from collections import defaultdict
from fractions import Fraction
from itertools import chain

import pytest
import torch
from recbole.data.dataset import Dataset
from recbole.utils import init_seed

from recbole_bd.data.dataset import AtomicDataset, RoundedTimesDataset
from recbole_bd.data.split import load_split, load_split_of
from recbole_bd.errors import ConfigError, DataError
from tests.helpers.data import write_inter
from tests.helpers.settings import make_config

HEADER = "user_id:token\titem_id:token\ttimestamp:float"
# The first time, and the largest step to the next one of the same user, which float32 often rounds to nothing.
CLOCKS = {
    "seconds": (1_700_000_000, 40),
    "milliseconds": (1_700_000_000_000, 900),
    "microseconds": (1_700_000_000_000_000, 9),
    "nanoseconds": (1_700_000_000_000_000_000, 3),
    "up to 2^63": (2**63 - 2000, 3),
    "before 1970": (-(2**62), 2),
    "small": (0, 40),
}
CLOCK = pytest.mark.parametrize("clock", CLOCKS)


def history(clock: str, users=30, each=10, ties=True) -> list[tuple[str, str, int]]:
    """Rows in a random order; now and then a user has two of them at the same time."""
    start, step = CLOCKS[clock]
    generator = random.Random(3)
    rows = []
    for user in range(users):
        time = start + generator.randrange(50)
        for item in generator.sample(range(40), each):
            time += generator.randrange(0 if ties else 1, step + 1)
            rows.append((f"u{user}", f"i{item}", time))
    generator.shuffle(rows)
    return rows


def settings(folder, quick, **more) -> dict:
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    return {**quick, "dataset": "timed", "data_path": str(folder), **columns, **more}


def arguments(split: dict, order="TO", group_by="user") -> dict:
    return {"eval_args": {"split": split, "group_by": group_by, "order": order, "mode": "full"}}


def parts_of(folder, quick, rows, header=HEADER, **more) -> list[list[tuple[str, str]]]:
    """Pairs of training, in its order, and of validation and test, which RecBole's evaluation orders by user."""
    write_inter(folder, "timed", rows, header=header)
    split = load_split(make_config(settings(folder, quick, **more)))
    dataset = split.dataset
    found = []
    for part in ("train", "valid", "test"):
        users, items = split.pairs(part)
        found.append(list(zip(dataset.id2token("user_id", users), dataset.id2token("item_id", items), strict=True)))
    return found


def of_users(rows) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each user in order of time, those of the same time in the file's."""
    found = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        found[user].append((user, item))
    return found


@CLOCK
def test_leaving_one_out_takes_the_last_in_exact_order_of_time(clock, tmp_path, quick):
    rows = history(clock)
    train, valid, test = parts_of(tmp_path, quick, rows, **arguments({"LS": "valid_and_test"}))
    expected = of_users(rows)
    assert sorted(test) == sorted(pairs[-1] for pairs in expected.values())
    assert sorted(valid) == sorted(pairs[-2] for pairs in expected.values())
    assert [p for p in train if p[0] == "u7"] == expected["u7"][:-2]


def test_fractions_of_seconds_are_an_order(tmp_path, quick):
    rows = [(user, item, 1_700_000_000 + (time % 1000) / 1024) for user, item, time in history("milliseconds")]
    _, _, test = parts_of(tmp_path, quick, rows, **arguments({"LS": "valid_and_test"}))
    assert sorted(test) == sorted(pairs[-1] for pairs in of_users(rows).values())


@pytest.mark.parametrize("more", [{"normalize_field": ["timestamp"]}, {"normalize_all": True}])
def test_normalised_times_keep_their_order(more, tmp_path, quick):
    rows = history("milliseconds")
    _, _, test = parts_of(tmp_path, quick, rows, **more, **arguments({"LS": "valid_and_test"}))
    assert sorted(test) == sorted(pairs[-1] for pairs in of_users(rows).values())


@CLOCK
@pytest.mark.parametrize("group_by", ["user", "none"])
def test_a_ratio_takes_the_last_in_exact_order_of_time(group_by, clock, tmp_path, quick):
    rows = history(clock)
    parts = parts_of(tmp_path, quick, rows, **arguments({"RS": [0.6, 0.2, 0.2]}, group_by=group_by))
    ordered = of_users(rows).values() if group_by == "user" else [[row[:2] for row in sorted(rows, key=lambda r: r[2])]]
    for part, (start, end) in zip(parts, ((0, 0.6), (0.6, 0.8), (0.8, 1)), strict=True):
        expected = [pair for pairs in ordered for pair in pairs[round(start * len(pairs)) : round(end * len(pairs))]]
        assert sorted(part) == sorted(expected)


@CLOCK
def test_a_split_by_time_divides_at_the_exact_time(clock, tmp_path, quick):
    rows = history(clock, ties=False)
    train, valid, test = parts_of(tmp_path, quick, rows, **arguments({"TS": [0.25, 0.25, 0.5]}))
    times = sorted(time for *_, time in rows)
    place = Fraction(len(rows) - 1) / 2
    low = times[int(place)]
    limit = low + (place - int(place)) * (times[int(place) + 1] - low)
    assert sorted(test) == sorted((user, item) for user, item, time in rows if time > limit)
    before = of_users([row for row in rows if row[2] <= limit])
    assert sorted(train) == sorted(pair for pairs in before.values() for pair in pairs[: len(pairs) // 2])
    assert sorted(train + valid) == sorted(pair for pairs in before.values() for pair in pairs)


def test_a_split_by_time_of_rows_in_random_order_is_refused(tmp_path, quick):
    with pytest.raises(
        ConfigError, match=r"eval_args: TS=\[6, 2, 2\]: a split by time needs order: TO; with order: RO"
    ):
        parts_of(tmp_path, quick, history("seconds"), **arguments({"TS": [6, 2, 2]}, order="RO"))


def inside(bracket: str, low: int, high: int):
    opening, closing = bracket
    return lambda time: (
        (low <= time if opening == "[" else low < time) and (time <= high if closing == "]" else time < high)
    )


@CLOCK
@pytest.mark.parametrize("brackets", ["[]", "[)", "(]", "()"])
def test_an_interval_of_times_ends_exactly_at_its_ends(brackets, clock, tmp_path, quick):
    rows = history(clock)
    times = sorted({time for *_, time in rows})
    low, high = times[len(times) // 8], times[-len(times) // 8]
    interval = {"val_interval": {"timestamp": f"{brackets[0]}{low},{high}{brackets[1]}"}}
    parts = parts_of(tmp_path, quick, rows, **interval, **arguments({"RS": [0.8, 0.1, 0.1]}, group_by="none"))
    kept = inside(brackets, low, high)
    assert sorted([*chain(*parts)]) == sorted((user, item) for user, item, time in rows if kept(time))


@CLOCK
@pytest.mark.parametrize("keep", ["first", "last"])
def test_of_repeated_pairs_the_exactly_first_or_last_stays(keep, clock, tmp_path, quick):
    rows = history(clock)
    step = CLOCKS[clock][1]
    again = [
        (user, item, time + sign * (k % step)) for k, (user, item, time) in enumerate(rows[::2]) for sign in (1, -1)
    ]
    rows += again
    random.Random(4).shuffle(rows)
    kept = {}
    for user, item, time in sorted(rows, key=lambda row: row[2]):
        if keep == "last" or (user, item) not in kept:
            kept.pop((user, item), None)
            kept[user, item] = time
    expected = of_users([(*pair, time) for pair, time in kept.items()])
    _, _, test = parts_of(tmp_path, quick, rows, rm_dup_inter=keep, **arguments({"LS": "valid_and_test"}))
    assert sorted(test) == sorted(pairs[-1] for pairs in expected.values())


def assert_divided(parts, pairs):
    """The parts are the first 60 %, the next 20 % and the rest of the pairs."""
    first, second = round(0.6 * len(pairs)), round(0.8 * len(pairs))
    assert parts[0] == pairs[:first]
    assert [sorted(part) for part in parts[1:]] == [sorted(pairs[first:second]), sorted(pairs[second:])]


def test_rows_of_one_time_keep_the_order_of_the_file(tmp_path, quick):
    rows = [(f"u{k % 20}", f"i{(7 * k + k // 20) % 31}", 1_700_000_000) for k in range(400)]
    for more in ({}, {"rm_dup_inter": "last"}):
        found = parts_of(tmp_path, quick, rows, **more, **arguments({"RS": [0.6, 0.2, 0.2]}, group_by="none"))
        pairs = [row[:2] for row in rows]
        if more:
            pairs = list(dict.fromkeys(pairs[::-1]))[::-1]
        assert_divided(found, pairs)


@pytest.mark.parametrize(("kind", "key"), [("user", "user_id"), ("item", "item_id")])
@pytest.mark.parametrize("clock", ["milliseconds", "nanoseconds"])
def test_a_column_of_users_or_items_is_bounded_by_its_exact_numbers(kind, key, clock, tmp_path, quick):
    rows = [(f"u{k % 12}", f"i{k % 13}", k) for k in range(156) if k % 5 < 2]
    start = CLOCKS[clock][0]
    names = sorted({row[kind == "item"] for row in rows})
    since = {name: start + k for k, name in enumerate(names)}
    write_inter(tmp_path, "timed", [])
    lines = [f"{key}:token\tsince:float", *(f"{name}\t{time}" for name, time in since.items())]
    (tmp_path / "timed" / f"timed.{kind}").write_text("\n".join(lines) + "\n")
    parts = parts_of(
        tmp_path, quick, rows, **arguments({"RS": [0.6, 0.2, 0.2]}, group_by="none"),
        load_col={"inter": ["user_id", "item_id", "timestamp"], kind: [key, "since"]},
        val_interval={"since": f"({start + 2},{start + 8}]"}, filter_inter_by_user_or_item=True,
    )  # fmt: skip
    expected = [row[:2] for row in rows if start + 2 < since[row[kind == "item"]] <= start + 8]
    assert sorted(chain(*parts)) == sorted(expected)


def test_a_threshold_is_compared_with_exact_numbers(tmp_path, quick):
    start = CLOCKS["nanoseconds"][0]
    rows = [(f"u{k % 12}", f"i{k % 13}", k, start + k % 10) for k in range(156)]
    write_inter(tmp_path, "timed", rows, header=f"{HEADER}\tat:float")
    columns = {"inter": ["user_id", "item_id", "timestamp", "at"]}
    config = make_config(settings(tmp_path, quick, load_col=columns))
    config["threshold"] = {"at": start + 7}
    labels = AtomicDataset(config).inter_feat[config["LABEL_FIELD"]]
    assert labels.tolist() == [int(k % 10 >= 7) for k in range(156)]


@pytest.mark.parametrize("kind", ["token", "float_seq"])
@pytest.mark.parametrize("more", [{}, {"rm_dup_inter": "last"}])
def test_times_that_are_no_numbers_are_refused_where_they_are_an_order(kind, more, tmp_path, quick):
    header = HEADER.replace("timestamp:float", f"timestamp:{kind}")
    problem = (
        f"TIME_FIELD=timestamp: the column is of type {kind}, which has no order; .* timestamp:float in the header"
    )
    with pytest.raises(ConfigError, match=problem):
        parts_of(tmp_path, quick, history("seconds"), header, **more, **arguments({"LS": "valid_and_test"}))
    if not more:
        assert all(parts_of(tmp_path, quick, history("seconds"), header, **arguments({"RS": [8, 1, 1]}, order="RO")))


# --- where float32 suffices, nothing differs from RecBole -------------------------------------------------------------
SPLITS = {
    "leave one out": arguments({"LS": "valid_and_test"}),
    "ratio of users": arguments({"RS": [0.6, 0.2, 0.2]}),
    "ratio of all": arguments({"RS": [0.6, 0.2, 0.2]}, group_by="none"),
    "by time": arguments({"TS": [0.6, 0.2, 0.2]}),
    "random": arguments({"RS": [0.6, 0.2, 0.2]}, order="RO"),
}
PREPARED = {
    "plain": {},
    "normalised": {"normalize_field": ["timestamp"]},
    "bounded": {"val_interval": {"timestamp": "(3,150]"}, "user_inter_num_interval": "[2,inf)"},
    "bucketed": {"numerical_features": ["timestamp"]},
}


def hosts_and_own(config) -> tuple[list, list]:
    """The parts as RecBole's Dataset makes them, and as they are here."""
    init_seed(config["seed"], config["reproducibility"])
    hosts = Dataset(config)
    split = load_split(config)
    init_seed(config["seed"], config["reproducibility"])
    parts = hosts.build()
    for part in parts[1:]:
        part.sort(by="user_id")  # as RecBole's evaluation loaders do
    assert [*hosts.field2id_token["item_id"]] == [*split.dataset.field2id_token["item_id"]]
    return [hosts, *parts], [split.dataset, split.train, split.valid, split.test]


def assert_same(hosts, own):
    for theirs, ours in zip(hosts, own, strict=True):
        assert list(theirs.inter_feat.columns) == list(ours.inter_feat.columns)
        assert theirs.time_field == ours.time_field
        for column in theirs.inter_feat.columns:
            assert theirs.inter_feat[column].dtype == ours.inter_feat[column].dtype
            assert torch.equal(theirs.inter_feat[column], ours.inter_feat[column]), column


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("split", SPLITS)
def test_times_that_float32_tells_apart_are_divided_as_by_recbole(split, prepared, tmp_path, quick):
    if (split, prepared) == ("by time", "bucketed"):
        pytest.skip("RecBole's own Dataset fails")
    rows = [(*row, k % 7) for k, row in enumerate(history("small"))]
    write_inter(tmp_path, "timed", rows, header=f"{HEADER}\trating:float")
    columns = {"inter": ["user_id", "item_id", "timestamp", "rating"]}
    more = {**SPLITS[split], **PREPARED[prepared], "load_col": columns}
    assert_same(*hosts_and_own(make_config(settings(tmp_path, quick, **more))))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}])
def test_movielens_is_divided_as_by_recbole(more):
    assert_same(*hosts_and_own(make_config(dataset="ml-100k", device="cpu", **more)))


# --- splits that versions before exact times made ---------------------------------------------------------------------
def rounded_and_exact(folder, quick, clock="seconds", **more):
    write_inter(folder, "timed", history(clock), header=HEADER)
    config = make_config(settings(folder, quick, **more))
    init_seed(config["seed"], config["reproducibility"])
    return config, load_split(config, RoundedTimesDataset), load_split(config)


@pytest.mark.parametrize("more", [{}, {"rm_dup_inter": "first"}])
@pytest.mark.parametrize("split", ["leave one out", "ratio of users", "by time"])
def test_the_split_of_an_earlier_version_is_found_by_its_fingerprint(split, more, tmp_path, quick, caplog):
    config, rounded, exact = rounded_and_exact(tmp_path, quick, **SPLITS[split], **more)
    assert rounded.fingerprint != exact.fingerprint
    caplog.clear()
    assert load_split_of(config, exact.fingerprint).fingerprint == exact.fingerprint
    assert load_split_of(config, "0" * 16).fingerprint == exact.fingerprint
    assert not [message for message in caplog.messages if "rounded" in message]
    assert load_split_of(config, rounded.fingerprint).fingerprint == rounded.fingerprint
    assert [message for message in caplog.messages if "rounded" in message] == [
        "data set timed: the split of this run was made by an earlier version, from times rounded to float32; train "
        "again to divide it by exact times"
    ]


def test_the_split_of_an_earlier_version_is_that_of_recbole(tmp_path, quick):
    config, rounded, _ = rounded_and_exact(tmp_path, quick, "milliseconds", **SPLITS["leave one out"])
    init_seed(config["seed"], config["reproducibility"])
    parts = Dataset(config).build()
    for part in parts[1:]:
        part.sort(by="user_id")
    assert_same(parts, [rounded.train, rounded.valid, rounded.test])


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        (arguments({"LS": "valid_and_test"}), True),
        (arguments({"RS": [0.8, 0.1, 0.1]}), True),
        (arguments({"TS": [0.8, 0.1, 0.1]}), True),
        ({**arguments({"RS": [0.8, 0.1, 0.1]}, order="RO"), "rm_dup_inter": "first"}, True),
        (arguments({"RS": [0.8, 0.1, 0.1]}, order="RO"), False),
    ],
)
def test_a_missing_time_is_refused_where_times_order_the_interactions(more, refused, tmp_path, quick):
    rows = history("seconds")
    rows[6] = (*rows[6][:2], "")
    rows[9] = (*rows[9][:2], "NA")
    if not refused:
        assert sum(map(len, parts_of(tmp_path, quick, rows, **more))) == len(rows)
        return
    said = r"timed\.inter line 8: no time in column timestamp \(2 in the file\), by which .* leave the line out$"
    with pytest.raises(DataError, match=said):
        parts_of(tmp_path, quick, rows, **more)
