"""Settings of small runs, recommendations by plain sorting, and what the outputs of serving hold."""

import csv
import json

import pytest
import torch
from recbole.data.interaction import Interaction

from tests.helpers.settings import QUICK

COUNT = 5

# RecBole alone, with nothing of this package: what an older stack has and a newer one took away is put back first.
STOCK_RECBOLE = """
import sys, numpy, torch
for name, kind in (("float_", numpy.float64), ("complex_", numpy.complex128), ("unicode_", numpy.str_),
                   ("bool8", numpy.bool_), ("float", float), ("int", int), ("bool", bool), ("object", object)):
    if name not in numpy.__dict__:
        setattr(numpy, name, kind)
import scipy.sparse
if not hasattr(scipy.sparse.dok_matrix, "_update"):
    scipy.sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)
load = torch.load
torch.load = lambda *given, **more: load(*given, **{**more, "weights_only": False})
sys.modules["ray"] = sys.modules["ray.tune"] = type(sys)("ray")
sys.modules["ray"].tune = sys.modules["ray"]
"""


def settings_of(folder, block_data, **more):
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder), **more}
    for role in ("teacher", "student"):
        if settings.get(f"{role}_model") == "NeuMF":
            del settings[f"{role}.embedding_size"]
    return settings


def reference(trained, user, count, parts=("train", "valid")):
    """Best items of a user by sorting all scores in plain Python; without the items of some parts."""
    with trained.role.scoring():
        scores = trained.role.all_logits(torch.tensor([user]))[0].tolist()
    known = {0}
    for part in parts:
        users, items = trained.split.pairs(part)
        known |= set(items[users == user].tolist())
    return sorted(((score, item) for item, score in enumerate(scores) if item not in known), reverse=True)[:count]


def next_items_of(trained, sequence, count, left_out=()):
    """Best items after a sequence of original ids, by RecBole's model alone, and plain sorting."""
    numbers, model = trained.split.dataset.field2token_id["item_id"], trained.role.model
    length = model.max_seq_length
    last = [numbers[item] for item in sequence][-length:]
    padded = torch.tensor([last + [0] * (length - len(last))])
    columns = {"user_id": torch.tensor([0]), "item_id_list": padded, "item_length": torch.tensor([len(last)])}
    model.eval()
    with torch.no_grad():
        scores = model.full_sort_predict(Interaction(columns)).view(-1).tolist()
    excluded = {0, *(numbers[item] for item in left_out)}
    return sorted(((score, item) for item, score in enumerate(scores) if item not in excluded), reverse=True)[:count]


def host_lists(trained, count):
    """Inner ids of the best items by original user id, as RecBole's evaluation of the test part ranks them."""
    split, found = trained.split, {}
    names = split.dataset.field2id_token[split.dataset.uid_field]
    for interaction, history, _, _ in split.test_loader:
        users = interaction[split.dataset.uid_field]
        with trained.role.scoring():
            scores = trained.role.all_logits(users)
        scores[:, 0] = -torch.inf
        scores[history] = -torch.inf
        found |= dict(zip(names[users.numpy()].tolist(), scores.topk(count).indices.tolist(), strict=True))
    return found


def lists_of(path, split):
    """Inner ids of the items in a written file, the best first, by original user id."""
    numbers, lists = split.dataset.field2token_id[split.dataset.iid_field], {}
    for user, item, rank, _ in read_rows(path):
        lists.setdefault(user, []).append(numbers[item])
        assert rank == len(lists[user])
    return lists


def hit_rate(lists, split, count):
    """Share of the users of the test part who have a test item among the first of their list."""
    users, items = split.pairs("test")
    names = split.dataset.field2id_token[split.dataset.uid_field][users.numpy()].tolist()
    hit = dict.fromkeys(names, False)
    for user, item in zip(names, items.tolist(), strict=True):
        hit[user] |= item in lists.get(user, [])[:count]
    return sum(hit.values()) / len(hit)


def read_rows(path):
    """Rows of any form as (user, item, rank, score)."""
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            rows = list(csv.reader(stream))
        assert rows[0] == ["user_id", "item_id", "rank", "score"]
        return [(u, i, int(r), float(s) if s else None) for u, i, r, s in rows[1:]]
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            (line["user_id"], item, rank, score)
            for line in lines
            for rank, (item, score) in enumerate(zip(line["item_ids"], line["scores"], strict=True), start=1)
        ]
    table = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [tuple(row[name] for name in ("user_id", "item_id", "rank", "score")) for row in table]


def run_onnx(path, users, excluded):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {"users": users.numpy(), "excluded": excluded.numpy()})
