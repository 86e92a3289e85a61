"""Items named in files, and items chosen by a column of the `.item` file."""

import pytest
import torch

from recbole_bd.data.split import load_split
from recbole_bd.errors import ConfigError, DataError
from recbole_bd.serving.item_choice import ItemChoice, choose_items, satisfied
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import make_config

# Prices are beyond what float32 tells apart; i47 has no row, i6 no price and no genre; `nowhere` is in no interaction.
GENRES = {0: "Comedy", 1: "Drama Comedy", 2: "Sci-Fi", 3: "a;b", 4: "  Drama", 5: "__import__('os')", 6: ""}
ODD = 2**53 - 1
ROWS = [
    (
        f"i{n}",
        GENRES.get(n, "Other"),
        "" if n == 6 else 16_777_216 + n,
        f"{n} {n / 2}",
        f"name {n % 3}",
        2**53 - 1 + 2 * n,
    )
    for n in range(47)
]
HEADER = "item_id:token\tgenre:token_seq\tprice:float\tsizes:float_seq\tname:token\tcode:float"


@pytest.fixture(scope="module", params=["columns not loaded", "columns loaded"])
def split(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_inter(folder, "shop", block_pairs())
    lines = ["\t".join(map(str, row)) for row in [*ROWS, ("nowhere", "Nothing", 1, "99", "unnamed", 1)]]
    (folder / "shop" / "shop.item").write_text("\n".join([HEADER, *lines]) + "\n")
    columns = {"inter": ["user_id", "item_id"]}
    if request.param == "columns loaded":  # RecBole normalises numbers, and numbers words
        columns["item"] = ["item_id", "genre", "price"]
    return load_split(make_config(dataset="shop", data_path=str(folder), device="cpu", load_col=columns))


@pytest.fixture
def chosen(split):
    """Original ids of allowed items."""

    def ids(allowed):
        assert (allowed.dtype, len(allowed)) == (torch.bool, split.n_items)
        return set(split.dataset.field2id_token["item_id"][allowed.numpy()].tolist())

    return ids


def numbered(*numbers):
    return {f"i{number}" for number in numbers}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("genre=Comedy", numbered(0, 1)),
        (" genre = Drama ", numbered(1, 4)),
        ("genre=Sci-Fi; Comedy", numbered(0, 1, 2)),
        ("genre=a;b", numbered(3)),  # a word that is there as a whole is not divided
        ("genre=__import__('os')", numbered(5)),
        ("price=[16777217,16777219)", numbered(1, 2)),
        ("price=(16777217,16777219]", numbered(2, 3)),
        ("price=16777217", numbered(1)),
        ("price=(1,16777216];[16777262,inf)", numbered(0, 46)),
        ("price=16777216 ; [16777261,16777261]", numbered(0, 45)),
        ("code=9007199254740995", numbered(2)),  # odd numbers above 2^53 are no float64
        ("code=(9007199254740995,9007199254740999]", numbered(3, 4)),
        ("sizes=[22.5,23]", numbered(23, 45, 46)),
        ("name=name 1", numbered(*range(1, 47, 3))),
        ("name=name 1;name 2", numbered(*range(1, 47, 3), *range(2, 47, 3))),
        ("item_id=i3;i4", numbered(3, 4)),
    ],
)
def test_a_condition_chooses_by_the_cells_as_written(condition, expected, split, chosen):
    assert chosen(satisfied(split, condition)) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("genre", "expected COLUMN=VALUE, such as genre=Comedy or 'price=[0,10)'"),
        ("=Comedy", "expected COLUMN=VALUE, such as genre=Comedy or 'price=[0,10)'"),
        ("genre= ", "expected COLUMN=VALUE, such as genre=Comedy or 'price=[0,10)'"),
        ("genres=Comedy", "shop.item has no column genres; it has item_id, genre, price, sizes, name, code"),
        ("genre=Comdy", "no item has 'Comdy' in the column genre; did you mean Comedy?"),
        (
            "name=[0,10)",
            "the column name holds words, which have no intervals: name words, several with ';', or declare "
            "the column as name:float in the file's first line; it has name 0, name 1, name 2, unnamed",
        ),
        (
            "name=nobody at all",
            "no item has 'nobody at all' in the column name; it has name 0, name 1, name 2, unnamed",
        ),
        ("price=cheap", "the column holds numbers; expected a number, or intervals such as [5,inf) or (0,1];[3,4)"),
        ("price=[3,1]", "the column holds numbers; expected a number, or intervals such as [5,inf) or (0,1];[3,4)"),
        ("price=nan", "the column holds numbers; expected a number, or intervals such as [5,inf) or (0,1];[3,4)"),
        ("sizes=[0,__import__('os')]", "the column holds numbers; expected a number, or intervals such as [5,inf)"),
    ],
)
def test_a_wrong_condition_is_one_line(condition, message, split):
    with pytest.raises(ConfigError) as error:
        satisfied(split, condition)
    assert str(error.value).startswith(f"--filter={condition!r}: ")
    assert message in str(error.value)


def test_without_an_item_file_a_condition_names_the_way_out(student):
    with pytest.raises(
        DataError, match=r"--filter='genre=Comedy' needs .*blocks\.item, which does not exist; name the"
    ):
        satisfied(student.split, "genre=Comedy")


def test_files_and_conditions_all_hold(split, chosen, tmp_path):
    only, without = tmp_path / "only.txt", tmp_path / "without.txt"
    only.write_text("item_id:token\ni0\ni1\ni4\ni46\n")
    without.write_text("i1\n")
    everything = set(split.dataset.field2id_token["item_id"][1:].tolist())
    assert chosen(choose_items(split, ItemChoice()).allowed) == everything
    assert chosen(choose_items(split, ItemChoice(only)).allowed) == numbered(0, 1, 4, 46)
    assert chosen(choose_items(split, ItemChoice(without=without)).allowed) == everything - {"i1"}
    filters = ["genre=Drama;Comedy", "price=[16777216,16777220)"]
    assert chosen(choose_items(split, ItemChoice(filters=filters)).allowed) == numbered(0, 1)
    assert chosen(choose_items(split, ItemChoice(only, without, filters)).allowed) == numbered(0)
    without.write_text("item_id\n")  # an empty list leaves out nothing
    assert chosen(choose_items(split, ItemChoice(only, without, filters)).allowed) == numbered(0, 1)


@pytest.mark.parametrize("option", ["items", "exclude_items"])
def test_unknown_ids_are_refused_or_passed_over(option, split, chosen, tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("i0\n" + "".join(f"x{number}\n" for number in range(1200)))
    field = {"items": "only", "exclude_items": "without"}[option]
    with pytest.raises(DataError) as error:
        choose_items(split, ItemChoice(**{field: path}))
    assert str(error.value) == (
        f"--{option}={path}: 1,200 of 1,201 items are not in the data set shop: x0, x1, x2, x3, x4, ...; "
        "--unknown_items=skip passes over them"
    )
    found = choose_items(split, ItemChoice(**{field: path}, unknown="skip"))
    assert len(found.unknown) == 1200
    assert ("i0" in chosen(found.allowed)) == (option == "items")
    assert ("i1" in chosen(found.allowed)) != (option == "items")


def test_where_no_item_is_left_each_step_is_counted(split, tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("i0\ni1\ni2\n")
    with pytest.raises(DataError) as error:
        choose_items(split, ItemChoice(only=path, filters=["genre=Drama", "price=[0,1]"]))
    assert str(error.value) == (
        f"no item is left to recommend: {split.n_items - 1} are in the data, 3 after --items={path}, "
        "1 after --filter='genre=Drama', 0 after --filter='price=[0,1]'"
    )
    path.write_text("item_id\n")
    with pytest.raises(DataError, match=r"items file .*ids\.txt contains no items: write one id on each line"):
        choose_items(split, ItemChoice(only=path))
