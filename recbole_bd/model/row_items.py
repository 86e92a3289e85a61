"""Items that a sequential learner exchanges after the history of each row, drawn from the logits of the step itself."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.errors import ConfigError
from recbole_bd.model.at_rows import ROWS
from recbole_bd.model.exchange import Exchange, may_pause
from recbole_bd.model.full_lists import ListRows, constant_rows
from recbole_bd.model.guides import Guides
from recbole_bd.sampler.row_draws import RowDraws
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems


class RowItems:
    """Draws of the directions whose learner ranks at rows (`ranks_at: rows`), anew in every step.

    The learner ranks by the logits of its own step, in train mode. The guide ranks in its current state, without
    dropout, as for items drawn by users.

    Args:
        config: settings of the run, with BD's options.
        exchanges: directions that are on and whose learner learns at rows, by learner.
        roles: the two roles by name.
        guides: rankings of what stands in a guide's place.
        seen: the training items.
        sampler: its random generator draws.

    Attributes:
        exchanges: the directions that draw so; empty with `ranks_at: users`.

    Raises:
        ConfigError: an option that needs items drawn before the step.
    """

    def __init__(
        self,
        config: Any,
        exchanges: Mapping[str, Exchange],
        roles: Mapping[str, Role],
        guides: Guides,
        seen: SeenItems,
        sampler: DistillationSampler,
    ):
        self.exchanges = dict(exchanges) if config["ranks_at"] == ROWS else {}
        self._roles, self._guides = roles, guides
        precision = config["rank_precision"]
        if self.exchanges and precision == "sampled":
            raise ConfigError("ranks_at=rows ranks all items of a row: use rank_precision=binned or exact")
        if self.exchanges and may_pause(config):
            raise ConfigError(f"pause={config['pause']} asks before items are drawn for a step: use ranks_at=users")
        if self.exchanges:
            self._draws = RowDraws(seen, precision, config["exchange_history"] == "allowed", sampler.generator)

    def draw(self, role: str, units: Units, targets: Tensor) -> Tensor:
        """Draw the items that a role learns on in a batch.

        Args:
            role: the learner.
            units: the rows.
            targets: int64 [B], their positives.

        Returns:
            int64 [B, K], see `RowDraws.draw`.
        """
        exchange = self.exchanges[role]
        scores = {name: _of_units(ranking, units) for name, ranking in self._guides.rankings().items()}
        needed = exchange.drawing.ranked(role, exchange.ranker)
        if role in needed:
            scores[role] = _of_this_step(self._roles[role], units)
        if exchange.ranker in needed and exchange.ranker in self._roles:
            scores[exchange.ranker] = constant_rows(self._roles[exchange.ranker], units, learning=False)
        with torch.no_grad(), self._roles[exchange.guide].scoring():
            return self._draws.draw(
                role, exchange.ranker, exchange.drawing, scores, users_of(units), targets, exchange.samples
            )


def _of_units(ranking: Callable[..., Tensor], units: Units) -> ListRows:
    """Logits of all items by what stands in a role's place."""
    return lambda part: ranking(units[part])


def _of_this_step(role: Role, units: Units) -> ListRows:
    """Logits of all items by a role that learns, as constants, from the pass that its own loss shares."""
    if (vectors := role.embeddings(units)) is None:
        table = role.all_logits(units).detach()
        return lambda part: table[part]
    of_users, of_items = (own.detach() for own in vectors)
    return lambda part: of_users[part] @ of_items.T
