"""RecBole's collector of evaluation results without its dense users x items arrays.

What it hands to RecBole's metrics is the same, number for number; RecBole's own metric code makes the metrics of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_bd.system.distributed import group

# What RecBole's metrics may ask of every batch.
_OF_A_BATCH = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")
# With more positives per user than this, finding the best k of a row costs less than ranking each positive.
_FEW_POSITIVES = 4
_SCORES_AT_ONCE = 2**20


class ArrayCollector(Collector):
    """Collects, for top-k metrics, at which of its user's first k places each positive item stands.

    Attributes:
        watch: sees each batch's scores, rows and items of positives before they are collected; None where nothing does.
        is_shared: of several processes each collects a share of the users, in the order of the processes.
    """

    is_shared = False
    watch: Callable[[Tensor, Tensor, Tensor], None] | None = None

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Collect one batch.

        Args:
            scores_tensor: [B, n_items] scores in the unit in which the model ranks; what is not to be recommended,
                padding among it, is -inf.
            interaction: RecBole's batch.
            positive_u, positive_i: int64, row (from 0) and item of each positive, none twice.
        """
        if self.watch is not None:
            self.watch(scores_tensor, positive_u, positive_i)
        if [need for need in _OF_A_BATCH if self.register.need(need)] != ["rec.topk"]:
            return super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        rows, items = positive_u.to(scores_tensor.device), positive_i.to(scores_tensor.device)
        places = hit_places(scores_tensor, rows, items, max(self.topk))
        counts = torch.bincount(rows, minlength=len(scores_tensor)).unsqueeze(1)
        self.data_struct.update_tensor("rec.topk", torch.cat((places, counts), dim=1).int())
        return None

    def get_data_struct(self) -> DataStruct:
        """Hand over what was collected. RecBole 1.2.1 asks numbers for `.cpu()`, which breaks some metrics."""
        held = self.data_struct._data_dict
        if group().size > 1 and self.is_shared:
            self._merge(held)
        plain = {name: value for name, value in held.items() if not isinstance(value, Tensor)}
        for name in plain:
            del held[name]
        collected = Collector.get_data_struct(self)
        held.update(plain)
        collected._data_dict.update(plain)
        return collected

    def _merge(self, held: dict[str, Any]) -> None:
        """Put what the processes have collected of their users together, as one would have collected it."""
        names = [name for name in held if name in _OF_A_BATCH]
        shares = group().all_gather({name: held[name].cpu() for name in names})
        for name in _OF_A_BATCH:
            if tables := [share[name] for share in shares if name in share]:
                held[name] = torch.cat(tables).to(held[name].device if name in held else tables[0].device)


def hit_places(scores: Tensor, rows: Tensor, items: Tensor, k: int) -> Tensor:
    """Mark which of the first k places of each row hold a positive item, as `torch.topk` orders them.

    Args:
        scores: [B, n_items], the highest is the best.
        rows, items: int64, row (from 0) and item of each positive, none twice.
        k: number of places, at most n_items.

    Returns:
        bool [B, k], the best place first.
    """
    if len(rows) > _FEW_POSITIVES * len(scores):
        return _by_topk(scores, rows, items, k)
    hits, unclear = _by_rank(scores, rows, items, k)
    if unclear.any():
        kept = unclear[rows]
        hits[unclear] = _by_topk(scores[unclear], (unclear.cumsum(0) - 1)[rows[kept]], items[kept], k)
    return hits


def _by_rank(scores: Tensor, rows: Tensor, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Count the scores above each positive's.

    Returns:
        The marks, bool [B, k], and the rows in which they are not known, bool [B]: where equal scores leave a
        positive's place to topk's own choice, or a score is not a number.
    """
    own = scores[rows, items].unsqueeze(1)
    one_each = len(rows) == len(scores) and bool((rows == torch.arange(len(rows), device=rows.device)).all())
    above = torch.empty(len(rows), device=scores.device)
    step = max(1, _SCORES_AT_ONCE // scores.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        compared = scores[part] if one_each else scores.index_select(0, rows[part])
        # Written as numbers: summing these takes a fifth of the time of summing truth values.
        above[part] = torch.gt(compared, own[part], out=torch.empty_like(compared)).sum(dim=1)
    unclear = torch.isnan(scores.amax(dim=1))
    high = (above < k).nonzero().squeeze(1)
    for part in high.split(step):
        tied = torch.eq(scores.index_select(0, rows[part]), own[part]).sum(dim=1) != 1
        unclear[rows[part][tied]] = True
    hits = torch.zeros(len(scores), k, dtype=torch.bool, device=scores.device)
    hits[rows[high], above[high].long()] = True
    return hits, unclear


def _by_topk(scores: Tensor, rows: Tensor, items: Tensor, k: int) -> Tensor:
    """Look the best k items of each row up among its positives."""
    n_items = scores.shape[1]
    best = torch.topk(scores, k, dim=-1).indices
    keys = (rows * n_items + items).sort().values
    wanted = best + torch.arange(len(scores), device=scores.device).unsqueeze(1) * n_items
    found = torch.searchsorted(keys, wanted).clamp_(max=max(len(keys) - 1, 0))
    return keys[found] == wanted if len(keys) else torch.zeros_like(best, dtype=torch.bool)
