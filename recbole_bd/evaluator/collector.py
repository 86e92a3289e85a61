"""RecBole's collector of evaluation results without its dense users x items arrays.

RecBole's metrics receive the same numbers as from its own collector, and compute the metrics from them.
"""

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.evaluator.collector import Collector, DataStruct
from torch import Tensor

from recbole_bd.evaluator.diversity import redefined
from recbole_bd.sampler.seen_items import number_in
from recbole_bd.system.block_sizes import rows_at_once
from recbole_bd.system.distributed import group

# Data that RecBole's metrics may request from every batch.
_OF_A_BATCH = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")
# Above this number of positives per user, nearly all rows have one that the first columns cannot rule out.
_FEW_POSITIVES = 4
# Share of the columns in which positives are ruled out, and scores compared at a time: 1 MiB, for a CPU's cache.
_PART_OF_COLUMNS = 16
_SCORES_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}


class ArrayCollector(Collector):
    """Collects, for top-k metrics, which of each user's first k positions hold a positive item.

    Attributes:
        watch: callback, or None; receives each batch's scores, rows and items of positives before they are collected.
        is_shared: whether each process of a distributed run collects its own part of the users.
    """

    is_shared = False
    watch: Callable[[Tensor, Tensor, Tensor], None] | None = None

    def __init__(self, config: Any):
        super().__init__(config)
        self._places: list[Tensor] = []  # those of each batch; adding each to one array would copy it every time

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Collect one batch.

        Args:
            scores_tensor: [B, n_items] scores in the unit in which the model ranks; -inf at excluded items and padding.
            interaction: RecBole's batch.
            positive_u, positive_i: int64 [n positives], row (from 0) and item of each; no pair occurs twice.
        """
        if self.watch is not None:
            self.watch(scores_tensor, positive_u, positive_i)
        if [need for need in _OF_A_BATCH if self.register.need(need)] != ["rec.topk"]:
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            self._clear_excluded(scores_tensor)
            return None
        rows, items = positive_u.to(scores_tensor.device), positive_i.to(scores_tensor.device)
        places = hit_places(scores_tensor, rows, items, max(self.topk))
        counts = torch.bincount(rows, minlength=len(scores_tensor)).unsqueeze(1)
        self._places.append(torch.cat((places, counts), dim=1).int())
        return None

    def _clear_excluded(self, scores: Tensor) -> None:
        """Put 0 into the places of the batch's lists beyond a user's last item, where RecBole has excluded items."""
        if self.register.need("rec.items") and redefined(self.config):
            lists = self.data_struct["rec.items"][-len(scores) :]
            lengths = (scores > -torch.inf).sum(dim=1, keepdim=True)
            lists[torch.arange(lists.shape[1], device=lists.device) >= lengths] = 0

    def get_data_struct(self) -> DataStruct:
        """Return the collected data.

        RecBole 1.2.1 calls `.cpu()` on plain numbers too, which breaks some metrics; they are set aside meanwhile.
        """
        held = self.data_struct._data_dict
        if self._places:
            held["rec.topk"] = torch.cat(self._places)
            self._places = []
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
        """Concatenate the data of all processes, in the order in which one process would have collected it."""
        names = [name for name in held if name in _OF_A_BATCH]
        shares = group().all_gather({name: held[name].cpu() for name in names})
        for name in _OF_A_BATCH:
            if tables := [share[name] for share in shares if name in share]:
                held[name] = torch.cat(tables).to(held[name].device if name in held else tables[0].device)


def hit_places(scores: Tensor, rows: Tensor, items: Tensor, k: int) -> Tensor:
    """Mark which of the first k positions of each row hold a positive item, in the order of `torch.topk`.

    Args:
        scores: [B, n_items], the highest is the best.
        rows, items: int64 [n positives], row (from 0) and item of each; no pair occurs twice.
        k: number of positions, at most n_items.

    Returns:
        bool [B, k], the best position first.
    """
    if len(rows) > _FEW_POSITIVES * len(scores):
        return _by_topk(scores, rows, items, k)
    hits = torch.zeros(len(scores), k, dtype=torch.bool, device=scores.device)
    # Most positives have k items above them in the first columns already, which costs less than a search of the row.
    part = scores[:, : -(-scores.shape[1] // _PART_OF_COLUMNS)]
    kept = _count(torch.Tensor.gt_, part, rows, scores[rows, items]) < k
    rows, items = rows[kept], items[kept]
    own = scores[rows, items]
    above = _count(torch.Tensor.gt_, scores, rows, own)
    first = above < k
    rows, items, own, places = rows[first], items[first], own[first], above[first].long()
    # NaN and scores equal to the own one are neither above nor below it; `topk`, which puts NaN first, decides there.
    is_sure = places + _count(torch.Tensor.lt_, scores, rows, own) == scores.shape[1] - 1
    hits[rows, places] = True
    searched = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    searched[rows[~is_sure]] = True
    if not searched.any():
        return hits
    for some in searched.nonzero().squeeze(1).split(rows_at_once(_SCORES_AT_ONCE, scores.device, scores.shape[1])):
        number, inside = number_in(some, rows)
        hits[some] = _by_topk(scores.index_select(0, some), number[inside], items[inside], k)
    return hits


def _count(compare: Callable[[Tensor, Tensor], Tensor], scores: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """Count the scores of a row that compare with an own one.

    Args:
        compare: compares scores in place.
        scores: [B, M].
        rows: int64 [n].
        own: [n].

    Returns:
        float32 [n].
    """
    counts = torch.empty(len(rows), device=scores.device)
    step = rows_at_once(_SCORES_AT_ONCE, scores.device, scores.shape[1])
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        # Summing floats takes a fifth of the time of summing booleans.
        compared = compare(scores.index_select(0, rows[some]), own[some].unsqueeze(1))
        counts[some] = compared.sum(dim=1, dtype=torch.float32)
    return counts


def _by_topk(scores: Tensor, rows: Tensor, items: Tensor, k: int) -> Tensor:
    """Search the best k items of each row among its positives."""
    n_items = scores.shape[1]
    best = torch.topk(scores, k, dim=-1).indices
    keys = (rows * n_items + items).sort().values
    wanted = best + torch.arange(len(scores), device=scores.device).unsqueeze(1) * n_items
    found = torch.searchsorted(keys, wanted).clamp_(max=max(len(keys) - 1, 0))
    return keys[found] == wanted if len(keys) else torch.zeros_like(best, dtype=torch.bool)
