"""Test results of both roles through RecBole's full ranking, and where the student ranks better than the teacher."""

import torch

from recbole_bd.data import Split
from recbole_bd.journal import Journal
from recbole_bd.ranking import SeenItems
from recbole_bd.roles import Role
from recbole_bd.trainer import role_trainer

# Scores compared at a time: 4 bytes each, and a boolean of the same shape.
_CHUNK_SCORES = 2**22


def evaluate(
    role: Role, split: Split, loader, journal: Journal, stage: str, show_progress: bool = False
) -> dict[str, float]:
    """RecBole's own evaluation of a role's model as it is now.

    Args:
        role: the role.
        split: the data; item and user counts come from its training part.
        loader: `split.valid_loader` or `split.test_loader`.
        journal: receives the duration.
        stage: `separate`, `distilled` or `continued`.
        show_progress: whether to draw a progress bar.

    Returns:
        Metric name to value, e.g. `ndcg@10`.
    """
    trainer = role_trainer(role, journal, stage)
    trainer.eval_collector.data_collect(_TrainingData(split))
    result = trainer.evaluate(loader, show_progress=show_progress)
    return {name: float(value) for name, value in result.items()}


class _TrainingData:
    """What RecBole's collector asks of a training loader: its data set."""

    def __init__(self, split: Split):
        self.dataset = split.train


def test_ranks(role: Role, split: Split) -> torch.Tensor:
    """Rank of every test interaction's item in the list the role would recommend to its user.

    Items of the user's training and validation interactions and the padding item are not in the list; the user's other
    test items are. Ties share the mean of their ranks, so that nothing depends on item ids.

    Args:
        role: the role whose model ranks.
        split: the data.

    Returns:
        float32 [number of test interactions], 1 is best, in the order of `split.pairs("test")`. Working memory is a
        chunk of 2**22 scores; nothing of size users x items is kept.
    """
    users, items = split.pairs("test")
    listed = [split.pairs(part) for part in ("train", "valid")]
    seen = SeenItems(*(torch.cat(ids) for ids in zip(*listed, strict=True)), split.n_users, split.n_items)
    order = torch.argsort(users, stable=True)
    ranks = torch.empty(len(users))
    step = max(1, _CHUNK_SCORES // split.n_items)
    with role.scoring():
        for chunk in order.split(step):
            distinct, row = torch.unique(users[chunk], return_inverse=True)
            scores = role.all_logits(distinct.to(role.device)).float().cpu()
            own = scores[row, items[chunk]].unsqueeze(1)
            scores[seen.of(distinct)] = -torch.inf
            better = (scores[row] > own).sum(dim=1)
            # A repeated interaction whose item has left the list itself counts as its own equal.
            equal = (scores[row] == own).sum(dim=1).clamp(min=1)
            ranks[chunk] = better + (equal + 1) / 2
    return ranks


def share_of_wins(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Share of test interactions whose item the student ranks strictly higher (nearer to 1) than the teacher."""
    return float((student < teacher).float().mean())
