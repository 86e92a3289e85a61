"""Data in order of time, for sequential models: in each user's sequence an item decides the next one."""

from pathlib import Path

import numpy as np

from tests.helpers.data import write_inter

N_ITEMS = 30
CHAINS = {"dataset": "chains", "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "device": "cpu"}
# Settings of small sequential models, at the top level.
SMALL = {
    "embedding_size": 8, "hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "num_layers": 1,
    "reranker_CAN_NUM": "10",
}  # fmt: skip

# Settings of a run of a moment.
SHORT = {
    **CHAINS, "epochs": 3, "distill_epochs": 1, "checkpoint_seconds": 0, "refresh_period": 1, "learning_rate": 0.01,
    "train_batch_size": 64, "MAX_ITEM_LIST_LENGTH": 6, "seed": 7, "show_progress": False, "threads": 1,
    "backbones": {
        "GRU4Rec": {
            "teacher": {"embedding_size": 8, "hidden_size": 8}, "student": {"embedding_size": 4, "hidden_size": 4},
        },
        "SASRec": {
            "teacher": {"hidden_size": 8, "inner_size": 8, "n_layers": 1},
            "student": {"hidden_size": 4, "inner_size": 4, "n_layers": 1},
        },
        "BPR": {"teacher": {"embedding_size": 8}, "student": {"embedding_size": 4}},
    },
}  # fmt: skip


def next_items(n_users: int = 60, lengths: tuple[int, int] = (4, 14), seed: int = 0) -> list[tuple[str, str, int]]:
    """Users, items and times: from a random first item on, the next item is a fixed one of the one before."""
    generator = np.random.default_rng(seed)
    after = generator.permutation(N_ITEMS)
    rows = []
    for user in range(n_users):
        item, count = int(generator.integers(N_ITEMS)), int(generator.integers(*lengths))
        times = np.sort(generator.choice(10_000, count, replace=False))
        for time in times:
            rows.append((f"u{user}", f"i{item}", int(time)))
            item = int(after[item])
    return [rows[place] for place in generator.permutation(len(rows))]  # a file need not be in order


def write_chains(folder: Path, **how) -> Path:
    """Write the data set `chains` under a folder, which is returned; its items have a class and a price."""
    write_inter(folder, "chains", next_items(**how), header="user_id:token\titem_id:token\ttimestamp:float")
    items = [f"i{item}\tc{item % 3} c{item % 5}\t{item / 8}" for item in range(N_ITEMS)]
    header = "item_id:token\tclass:token_seq\tprice:float"
    (folder / "chains" / "chains.item").write_text("\n".join([header, *items]) + "\n")
    return folder


def items_in_time(**how) -> dict[str, list[str]]:
    """The items of every user in order of time, from the rows of the file themselves."""
    found: dict[str, list[str]] = {}
    for user, item, _ in sorted(next_items(**how), key=lambda row: row[2]):
        found.setdefault(user, []).append(item)
    return found
