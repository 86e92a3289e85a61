"""Lists: a teacher read from a file of ranks, its scores, and what is wrong with a file in one line."""

import math

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_bd import run_bd
from recbole_bd.backbones.lists import known_lists
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.snapshot import restore_snapshot, take_snapshot
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, ConfigError, DataError, RoleError
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from tests.helpers.rankings import ranking, score
from tests.helpers.references import own_items
from tests.helpers.scenes import Scene
from tests.helpers.settings import for_method, make_config

HEADER = "user_id:token\titem_id:token\trank:float"
BY_RANK = [name for name in METHODS if name in ("RD", "RRD", "CE", "RCEKD", "DCD", "UnKD", "HetComp")]


@pytest.fixture
def listed(quick):
    """Settings of a student and a teacher of lists, without a file."""
    return {key: value for key, value in quick.items() if key != "teacher.embedding_size"}


def written(folder, lines, header=HEADER):
    path = folder / "lists.tsv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def teacher_of(listed, folder, lines, header=HEADER):
    scene = Scene(listed, model="RRD", teacher_lists=written(folder, lines, header))
    return scene, scene.roles[TEACHER]


def ids(scene, field, tokens):
    return [scene.split.train.field2token_id[field][token] for token in tokens]


def test_scores_fall_with_the_rank_and_what_is_not_listed_is_last(listed, tmp_path):
    lines = ["u3\ti7\t20", "u3\ti2\t3", "u5\ti9\t1", "u3\ti40\t4"]  # ranks have gaps, in any order
    scene, role = teacher_of(listed, tmp_path, lines)
    (user, other, nobody), items = ids(scene, "user_id", ["u3", "u5", "u8"]), ids(scene, "item_id", ["i2", "i40", "i7"])
    logits = role.all_logits(torch.tensor([user, other, nobody])).detach()
    last = -math.log(role.n_items)
    expected = torch.full((3, role.n_items), last)
    expected[0, items] = torch.tensor([0.0, -math.log(2), -math.log(3)])
    expected[1, ids(scene, "item_id", ["i9"])] = 0.0
    assert torch.allclose(logits, expected)
    users, some = torch.tensor([user, user, nobody]), torch.tensor([items[1], other, items[0]])
    pairs = Interaction({"user_id": users, "item_id": some})
    assert role.model.predict(pairs).tolist() == pytest.approx([-math.log(2), float(expected[0, other]), last])
    assert known_lists(role.model)[user].tolist() == items
    assert known_lists(Scene({**listed, "teacher_model": "ItemKNN"}, model="RRD").roles[TEACHER].model) is None


def test_a_stored_model_holds_the_lists(listed, tmp_path):
    _, role = teacher_of(listed, tmp_path, ["u3\ti7\t1"])
    state, before = take_snapshot(role.model), known_lists(role.model)
    role.model.lists = torch.zeros_like(before)
    restore_snapshot(role.model, state)
    assert torch.equal(known_lists(role.model), before)
    assert role.parameter_count >= before.numel()


def test_a_csv_file_is_read_as_a_spreadsheet_writes_it(listed, tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text('user_id,item_id,rank,score\n"u3",i2,2,-1.5\n"u3","i7",1,0.5\n')
    scene = Scene(listed, model="RRD", teacher_lists=str(path))
    lists = known_lists(scene.roles[TEACHER].model)
    assert lists[ids(scene, "user_id", ["u3"])[0]].tolist() == ids(scene, "item_id", ["i7", "i2"])
    path.write_text("user_id\titem_id\trank\nu3\ti2\t1\n")
    with pytest.raises(DataError, match=r"lists.csv line 1: expected a header with user_id, item_id, rank.* commas"):
        Scene(listed, model="RRD", teacher_lists=str(path))


def test_columns_come_in_any_order_and_blank_lines_are_skipped(listed, tmp_path):
    lines = ["1\ti2\tx\tu3", "", "2\ti7\tx\tu3"]
    scene, role = teacher_of(listed, tmp_path, lines, header="rank\titem_id\tnote\tuser_id")
    assert known_lists(role.model)[ids(scene, "user_id", ["u3"])[0]].tolist() == ids(scene, "item_id", ["i2", "i7"])


def test_lines_that_are_not_of_the_data_are_left_out_and_told(listed, tmp_path, caplog):
    lines = ["u3\ti2\t1", "u3\tnew\t2", "new\ti2\t1", "u3\ti7\t3", "[PAD]\ti2\t1"]
    scene, role = teacher_of(listed, tmp_path, lines)
    assert known_lists(role.model)[ids(scene, "user_id", ["u3"])[0]].tolist() == ids(scene, "item_id", ["i2", "i7"])
    said = [record.message.partition("lists.tsv: ")[2] for record in caplog.records if "lists.tsv: " in record.message]
    assert said[:2] == [
        "3 lines have a user or an item that the data lacks",
        "59 users have no list, and learn nothing of the teacher's order",
    ]


@pytest.mark.parametrize(
    ("lines", "header", "said"),
    [
        (["u3\ti2\t0"], HEADER, "line 2: rank '0': expected a whole number from 1, the best"),
        (["u3\ti2\t1", "", "u3\ti7\tfirst"], HEADER, "line 4: rank 'first': expected a whole number"),
        (["u3\ti2\t1.5"], HEADER, "line 2: rank '1.5': expected a whole number"),
        (["u3\ti2"], HEADER, "line 2: rank '': expected a whole number"),
        (["u3\ti2\t1", "u3\ti2\t2"], HEADER, "line 3: user u3 has item i2 twice"),
        (["u3\ti2\t1", "u3\ti7\t1"], HEADER, "line 3: user u3 has rank 1 twice"),
        (["u3\ti2\t1", "u3\ti7\t1.0"], HEADER, "line 3: user u3 has rank 1.0 twice"),
        (["new\ti2\t1"], HEADER, "no line has a user and an item of the data; use its original ids"),
        ([], HEADER, "no line has a user and an item of the data"),
        (["u3\ti2\t1"], "user\titem\trank", "line 1: expected a header with user_id, item_id, rank, each once and be"),
        (["u3\ti2\t1"], "user_id,item_id,rank", "without user_id, item_id, rank found: 'user_id,item_id,rank'"),
        (["u3\ti2\t1\t4"], HEADER, "lists.tsv line 2: more cells than the header has"),
        (["u3\ti2\t1", "u3\ti7\t1\t4"], HEADER, "cannot be read: .*Expected 3 fields in line 3, saw 4"),
    ],
)
def test_what_is_wrong_is_one_line(lines, header, said, listed, tmp_path):
    with pytest.raises(DataError, match=said) as caught:
        teacher_of(listed, tmp_path, lines, header)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_one_line(listed, tmp_path):
    with pytest.raises(DataError, match=r"teacher_lists .*none.tsv cannot be read: No such file or directory"):
        Scene(listed, model="RRD", teacher_lists=str(tmp_path / "none.tsv"))
    (tmp_path / "raw").write_bytes(b"user_id\titem_id\trank\n\xff\t1\t1\n")
    with pytest.raises(DataError, match="raw cannot be read: it is not UTF-8 text"):
        Scene(listed, model="RRD", teacher_lists=str(tmp_path / "raw"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="empty cannot be read: No columns to parse from file"):
        Scene(listed, model="RRD", teacher_lists=str(tmp_path / "empty"))


# --- settings ---------------------------------------------------------------------------------------------------------
def test_lists_name_the_model_of_the_teacher(listed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, ["u3\ti2\t1"])
    for more in ({"teacher_lists": "lists.tsv"}, {"teacher.teacher_lists": "lists.tsv"}):
        config = make_config({**for_method(listed, "RRD"), **more}, model="RRD")
        assert config.backbones == {TEACHER: "Lists", STUDENT: "BPR"}
        plain = config.as_dict()
        assert plain["teacher_model"] == "Lists"
        assert plain["teacher"]["teacher_lists"] == str(tmp_path / "lists.tsv")
        assert "teacher_lists" not in plain["student"]
        assert make_config(plain, model="RRD").as_dict() == plain
    with pytest.raises(ConfigError, match=r"only these have it: Lists\. It makes .* where teacher_model is left out"):
        make_config({**for_method(listed, "RRD"), "teacher_lists": "lists.tsv", "teacher_model": "BPR"}, model="RRD")
    with pytest.raises(ConfigError, match="model Lists: no lists are named; use --teacher_lists=FILE"):
        Scene(listed, model="RRD", teacher_model="Lists")


def test_the_hash_is_that_of_the_content(listed, tmp_path):
    def hashes(path):
        return run_hashes(make_config({**for_method(listed, "RRD"), "teacher_lists": path}, model="RRD"))

    first = hashes(written(tmp_path, ["u3\ti2\t1"]))
    (tmp_path / "other").mkdir()
    assert hashes(written(tmp_path / "other", ["u3\ti2\t1"])) == first
    changed = hashes(written(tmp_path, ["u3\ti7\t1"]))
    assert changed["config"] != first["config"]
    assert changed[TEACHER] != first[TEACHER]
    assert changed[STUDENT] == first[STUDENT]


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("CD", {}, "teacher: Lists has ranks alone, and CD learns probabilities of single items; use RD, RRD, "),
        ("DE", {}, "teacher: Lists has no embeddings of users and items, .* or use RD or RRD, which accept any model"),
        ("BD", {}, "teacher: Lists has no parameters to train by gradient, so it cannot learn from the other role"),
        ("DML", {}, "teacher: Lists has no parameters to train by gradient"),
        ("DCD", {"item_side_weight": 1.0}, "item_side_weight=1.0: Lists as the teacher ranks items, not the users of "),
        ("RRD", {"taught_by": "untrained"}, "Lists is computed from the data as soon as it is built"),
    ],
)
def test_what_needs_more_than_ranks_is_refused(method, more, said, listed, tmp_path):
    with pytest.raises(BDError, match=said) as caught:
        Scene(listed, model=method, teacher_lists=written(tmp_path, ["u3\ti2\t1"]), **more)
    assert isinstance(caught.value, RoleError | ConfigError)


# --- teaching ---------------------------------------------------------------------------------------------------------
def lines_of(split, tables) -> list[str]:
    users, items = (split.train.field2id_token[field] for field in ("user_id", "item_id"))
    return [
        f"{users[user]}\t{items[item]}\t{rank}"
        for user, row in enumerate(tables.tolist())
        for rank, item in enumerate(row, start=1)
        if item
    ]


@pytest.mark.parametrize("method", BY_RANK)
def test_every_method_by_rank_ends_where_a_list_ends(method, listed, tmp_path):
    """Three items for each user, one of them a training item; one user has none."""
    split = load_split(make_config(for_method(listed, method), model=method))
    users, items = split.pairs("train")
    first = {int(user): int(item) for user, item in zip(users.tolist(), items.tolist(), strict=True)}
    draws, rows = torch.Generator().manual_seed(1), torch.zeros(split.n_users, 3, dtype=torch.int64)
    for user, item in list(first.items())[1:]:
        drawn = 1 + torch.randperm(split.n_items - 1, generator=draws)
        rows[user] = torch.tensor([*drawn[drawn != item][:2], item])
    scene = Scene(listed, model=method, teacher_lists=written(tmp_path, lines_of(split, rows)))
    name = {"RCEKD": "teacher_lists", "DCD": "listed_user"}.get(method, "lists")
    more = {"CE": {"items": "teacher_top"}}.get(method, {})
    if more:
        scene = Scene(listed, model=method, teacher_lists=scene.config.role(TEACHER)["teacher_lists"], **more)
    tables = getattr(scene.method, name)
    found = tables if tables.dim() == 3 else tables.unsqueeze(0)
    for user in range(1, split.n_users):
        known = own_items(scene.method.seen, user)
        expected = [item for item in rows[user].tolist() if item and item not in known]
        items = [item for table in found for item in table[user].tolist() if item]
        assert sorted(items) == sorted(expected) if method == "UnKD" else items == expected
    parts = scene.method.loss(STUDENT, scene.batch_of(STUDENT))
    assert all(torch.isfinite(part) for part in parts.values())
    assert scene.gradients(STUDENT)[STUDENT] > 0


@pytest.mark.parametrize(("method", "more"), [*((name, {}) for name in BY_RANK), ("CE", {"items": "all"})])
@pytest.mark.parametrize("student", ["BPR", "CDAE"])
def test_users_without_a_list_learn_nothing(method, more, student, listed, tmp_path):
    """One user has a list, one has none, and one has a list of training items alone."""
    settings = {key: value for key, value in listed.items() if "." not in key} | {"student_model": student}
    split = load_split(make_config(for_method(settings, method), model=method))
    users, items = split.pairs("train")
    one, none, known = (int(user) for user in users.unique()[:3])
    own, rows = items[users == one].tolist(), torch.zeros(split.n_users, 5, dtype=torch.int64)
    rows[one] = torch.tensor([item for item in range(1, split.n_items) if item not in own][:5])
    rows[known, :2] = items[users == known][:2]
    scene = Scene(settings, model=method, teacher_lists=written(tmp_path, lines_of(split, rows)), **more)
    method, batch, model = scene.method, scene.batch_of(STUDENT), scene.roles[STUDENT].model.eval()

    def learned(users: list[int]) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        term = method.transfer(torch.tensor(users), batch)
        (term + 0 * sum(parameter.sum() for parameter in model.parameters())).backward()
        return float(term.detach()), [parameter.grad.clone() for parameter in model.parameters()]

    value, gradients = learned([none, known])
    assert value == 0
    assert all(gradient.abs().sum() == 0 for gradient in gradients)
    alone, gradients = learned([one])
    assert alone > 0
    assert learned([one, none, known])[0] == pytest.approx(alone / 3, rel=1e-5)
    assert all(
        torch.allclose(third, whole / 3, rtol=1e-4, atol=1e-5)
        for third, whole in zip(learned([one, none, known])[1], gradients, strict=True)
    )


@pytest.mark.parametrize("items", ["student_top", "all"])
def test_the_term_of_a_user_with_a_list_is_the_equation(items, listed, tmp_path):
    """The softmax of the lists is 1 / rank for the listed, 1 / number of items for the others."""
    split = load_split(make_config(for_method(listed, "CE"), model="CE"))
    users, owned = split.pairs("train")
    user = int(users[0])
    unseen = [item for item in range(1, split.n_items) if item not in owned[users == user].tolist()]
    rows = torch.zeros(split.n_users, len(unseen) // 2, dtype=torch.int64)
    rows[user] = torch.tensor(unseen[::2][: rows.shape[1]])
    scene = Scene(listed, model="CE", teacher_lists=written(tmp_path, lines_of(split, rows)), items=items)
    order = ranking(scene, STUDENT, user)[: 10 if items == "student_top" else None]
    ranks = {item: rank for rank, item in enumerate(rows[user].tolist(), start=1)}
    target = [1 / ranks.get(item, split.n_items) for item in order]
    logits = torch.tensor([score(scene, STUDENT, user, item) for item in order])
    expected = -sum(q / sum(target) * p for p, q in zip(logits.log_softmax(0).tolist(), target, strict=True))
    found = scene.method.transfer(torch.tensor([user]), scene.batch_of(STUDENT))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_run_by_lists_is_a_run_by_the_model_that_they_are_of(listed, tmp_path):
    """RD reads ranks alone: the lists of ItemKNN teach what ItemKNN teaches, where they are as long."""
    settings = {**for_method(listed, "RD"), "top_items": 48, "dynamic_weights": False, "epochs": 2}
    whole = Scene(settings, model="RD", teacher_model="ItemKNN")
    path = written(tmp_path, lines_of(whole.split, whole.method.lists))
    result = run_bd("RD", config_dict={**settings, "teacher_lists": path})
    taught = run_bd("RD", config_dict={**settings, "teacher_model": "ItemKNN"})
    assert result["teacher"]["model"] == "Lists"
    assert result["student"]["separate"] == taught["student"]["separate"]
    assert result["student"]["distilled"]["valid"] == pytest.approx(taught["student"]["distilled"]["valid"], abs=0.05)
    again = run_bd("RD", config_dict={**settings, "teacher_lists": path})
    assert again["student"] == result["student"]
    moved = tmp_path / "moved.tsv"
    moved.write_bytes((tmp_path / "lists.tsv").read_bytes())
    folder = result["run_folder"]
    assert run_bd(resume=folder, config_dict={"teacher_lists": str(moved)})["student"] == result["student"]
    moved.write_text("\n".join([HEADER, "u3\ti2\t1"]))
    with pytest.raises(ConfigError, match=f"{folder} cannot resume with teacher.teacher_lists=.*its content is not th"):
        run_bd(resume=folder, config_dict={"teacher_lists": str(moved)})
