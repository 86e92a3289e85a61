"""Settings of small runs, recommendations by plain sorting, and what the outputs of serving hold."""

import csv
import json

import pytest
import torch

from tests.helpers.settings import QUICK

COUNT = 5


def settings_of(folder, block_data, **more):
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder), **more}
    for role in ("teacher", "student"):
        if settings.get(f"{role}_model") == "NeuMF":
            del settings[f"{role}.embedding_size"]
    return settings


def reference(trained, user, count, parts=("train",)):
    """Best items of a user by sorting all scores in plain Python."""
    with trained.role.scoring():
        scores = trained.role.all_logits(torch.tensor([user]))[0].tolist()
    known = {0}
    for part in parts:
        users, items = trained.split.pairs(part)
        known |= set(items[users == user].tolist())
    return sorted(((score, item) for item, score in enumerate(scores) if item not in known), reverse=True)[:count]


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
