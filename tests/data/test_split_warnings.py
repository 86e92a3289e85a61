"""Warnings of a split: unread labels, untrained users and items, pairs in several parts, counted by hand."""

import pytest

from recbole_bd.data.split_warnings import SplitWarning, split_warnings
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.loaders import split_of

PARTS = ["train", "valid", "test"]
TRAIN = sorted(block_pairs(n_users=20, n_items=24))
# Pairs of the users' own block that training does not have.
HELD_OUT = [pair for pair in sorted((f"u{u}", f"i{i}") for u in range(20) for i in range(24)) if pair not in set(TRAIN)]
VALID, TEST = HELD_OUT[::3], HELD_OUT[1::3]


def fixed(folder, quick, train=TRAIN, valid=VALID, test=TEST, **more):
    """The split of parts that are given as files."""
    for part, pairs in zip(PARTS, (train, valid, test), strict=True):
        write_inter(folder, "fixed", pairs, part)
    return split_of(quick, dataset="fixed", data_path=str(folder), benchmark_filename=PARTS, **more)[1]


def test_a_sound_split_has_no_warnings(tmp_path, quick):
    assert split_warnings(fixed(tmp_path, quick)) == []


def test_labels_that_are_not_loaded_are_told(tmp_path, quick):
    (tmp_path / "marked").mkdir()
    rows = "".join(f"{user}\t{item}\t{number % 2}\n" for number, (user, item) in enumerate(TRAIN))
    (tmp_path / "marked" / "marked.inter").write_text(f"user_id:token\titem_id:token\tlabel:float\n{rows}")
    own = {"dataset": "marked", "data_path": str(tmp_path)}
    said = "the column label is not loaded: interactions of label 0 count as positives; add it to load_col"
    assert SplitWarning("labels", "train", said) in split_warnings(split_of(quick, **own)[1])
    kept = {"load_col": {"inter": ["user_id", "item_id", "label"]}, "val_interval": {"label": "[1,inf)"}}
    assert "labels" not in [warning.kind for warning in split_warnings(split_of(quick, **own, **kept)[1])]


def test_users_and_items_without_training_are_counted(tmp_path, quick):
    """Three new users have two test interactions each, one of them with a new item; so does one known user."""
    new = [(f"new{u}", item) for u in range(3) for item in ("i0", f"fresh{u}")]
    split = fixed(tmp_path, quick, valid=[*VALID, ("u0", "fresh7")], test=[*TEST, *new, ("u1", "fresh0")])
    assert split_warnings(split) == [
        SplitWarning("untrained", "valid", "1 item of the validation part has no training interaction: untrained "
                     f"vectors score 1 of its {len(VALID) + 1} interactions"),
        SplitWarning("untrained", "test", "3 users and 3 items of the test part have no training interaction: "
                     f"untrained vectors score 7 of its {len(TEST) + 7} interactions"),
    ]  # fmt: skip
    for trained, column, lacking in zip(split.trained, ("user_id", "item_id"), ("new", "fresh"), strict=True):
        names = split.dataset.field2id_token[column]
        assert [str(name) for name, known in zip(names, trained, strict=True) if not known] == [
            "[PAD]", *(str(name) for name in names if name.startswith(lacking))
        ]  # fmt: skip


def test_a_split_in_which_nobody_of_the_test_was_trained_is_told(tmp_path, quick):
    strangers = [(f"new{u}", f"i{u}") for u in range(5)]
    (found,) = split_warnings(fixed(tmp_path, quick, test=strangers))
    assert found.message == (
        "5 users of the test part have no training interaction: untrained vectors score 5 of its 5 interactions"
    )


def test_pairs_in_several_given_parts_are_counted(tmp_path, quick):
    valid, test = [*VALID, *TRAIN[:4]], [*TEST, *TRAIN[2:9], TRAIN[2], *VALID[:2]]
    assert split_warnings(fixed(tmp_path, quick, valid=valid, test=test)) == [
        SplitWarning("overlap", "valid", f"of {len(valid)} interactions of the validation part, 4 repeat a training "
                     "interaction of their user; remove them from one of the files"),
        # The pairs 2, 3 and again 2 of training are in the validation part as well.
        SplitWarning("overlap", "test", f"of {len(test)} interactions of the test part, 8 repeat a training "
                     "interaction and 5 repeat a validation interaction of their user; remove them from one of "
                     "the files"),
    ]  # fmt: skip


def test_pairs_that_a_split_divides_are_counted_and_the_remedy_helps(tmp_path, quick):
    pairs = block_pairs() + block_pairs()[::2]
    write_inter(tmp_path, "again", pairs)
    settings = {**quick, "dataset": "again", "data_path": str(tmp_path)}
    _, split = split_of(settings)
    rows = {part: list(zip(*(ids.tolist() for ids in split.pairs(part)), strict=True)) for part in PARTS}
    found = {warning.part: warning for warning in split_warnings(split) if warning.kind == "repeated"}
    for part, earlier in (("valid", ["train"]), ("test", ["train", "valid"])):
        counts = {name: sum(pair in set(rows[name]) for pair in rows[part]) for name in earlier}
        assert all(counts.values())
        for name, words in (("train", "a training"), ("valid", "a validation")):
            assert name not in counts or f"{counts[name]} repeat {words} interaction" in found[part].message
        assert found[part].message.startswith(f"of {len(rows[part])} interactions of the ")
        assert found[part].message.endswith(" of their user; rm_dup_inter=last keeps one of each")
    _, mended = split_of(settings, rm_dup_inter="last")
    assert not [warning for warning in split_warnings(mended) if warning.kind != "untrained"]


def test_repeats_are_no_fault_where_they_are_the_task(tmp_path, quick):
    test = [*TEST, *TRAIN[:5]]
    assert len(split_warnings(fixed(tmp_path, quick, test=test))) == 1
    assert split_warnings(fixed(tmp_path, quick, test=test, repeatable=True)) == []


@pytest.mark.slow
def test_a_random_split_of_movielens_is_told_of_the_items_it_leaves_untrained():
    _, split = split_of({"dataset": "ml-100k", "device": "cpu"})
    train, test = (set(split.pairs(part)[1].tolist()) for part in ("train", "test"))
    found = split_warnings(split)
    assert {warning.kind for warning in found} == {"untrained"}
    assert found[-1].message.startswith(f"{len(test - train)} items of the test part have no training interaction: ")
