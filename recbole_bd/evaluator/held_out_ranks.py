"""Ranks of the held-out items, and how often the student's are better."""

import torch

from recbole_bd.backbones.role import Role
from recbole_bd.data.split import Split
from recbole_bd.sampler.seen_items import SeenItems, require_numbers

# Scores compared at a time: 4 bytes each, and a boolean of the same shape.
_CHUNK_SCORES = 2**22


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

    Raises:
        DataError: a score is not a number; infinite ones rank at the ends.
    """
    users, items = split.pairs("test")
    listed = [split.pairs(part) for part in ("train", "valid")]
    known_users, known_items = (torch.cat(ids) for ids in zip(*listed, strict=True))
    seen = SeenItems(known_users, known_items, split.n_users, split.n_items)
    order = torch.argsort(users, stable=True)
    ranks = torch.empty(len(users))
    step = max(1, _CHUNK_SCORES // split.n_items)
    with role.scoring():
        for chunk in order.split(step):
            distinct, row = torch.unique(users[chunk], return_inverse=True)
            scores = role.all_logits(distinct.to(role.device)).float().cpu()
            require_numbers(scores.amax(dim=1), role.name)
            own = scores[row, items[chunk]].unsqueeze(1)
            scores[seen.of(distinct)] = torch.nan  # neither better than any score nor equal to one
            better = (scores[row] > own).sum(dim=1)
            # A repeated interaction whose item has left the list itself counts as its own equal.
            equal = (scores[row] == own).sum(dim=1).clamp(min=1)
            ranks[chunk] = better + (equal + 1) / 2
    return ranks


def share_of_wins(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Share of test interactions whose item the student ranks strictly higher (nearer to 1) than the teacher.

    Args:
        student, teacher: [number of test interactions], ranks in the same order, 1 is best.

    Returns:
        A number in [0, 1].
    """
    return float((student < teacher).float().mean())
