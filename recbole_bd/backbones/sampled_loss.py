"""CDAE with the loss of the paper's public code: over positives and sampled negatives.

RecBole's CDAE adds up its loss over all items. Changes model instances: CDAE gets the class `SampledLossCDAE`.
"""

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import CDAE
from torch import Tensor

# The model whose loss can be sampled, by RecBole's name.
SAMPLES_LOSS = "CDAE"


class SampledLossCDAE(CDAE):
    """CDAE whose loss reads some items only.

    sum over u and j in I_u+ and N_u of BCE(z(u, j), 1 if j in I_u+ else 0), plus RecBole's penalties   (public code)

    I_u+ are the user's training items. N_u are the loader's negatives, each counted once.
    """

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Loss of a batch of users.

        Args:
            interaction: users [B] and their negatives [B, M], padded with 0.

        Returns:
            A scalar.
        """
        users = interaction[self.USER_ID]
        positives = torch.unique(self._pairs(self.history_item_id[users]))
        pairs = torch.unique(torch.cat([positives, self._pairs(interaction[self.NEG_ITEM_ID])]))
        hidden = self.h_act(self.h_user(users) + self._histories(positives, len(users)))
        rows, items = pairs // self.n_items, pairs % self.n_items
        logits = (F.embedding(items, self.out_layer.weight) * hidden.index_select(0, rows)).sum(dim=-1)
        logits = logits + self.out_layer.bias.index_select(0, items)
        places = torch.searchsorted(positives, pairs).clamp(max=len(positives) - 1)
        targets = (positives[places] == pairs).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        for weight, order in ((self.reg_weight_1, 1), (self.reg_weight_2, 2)):
            if weight:
                loss = loss + weight * (self.h_user.weight.norm(p=order) + self.h_item.weight.norm(p=order))
        return loss

    def _pairs(self, items: Tensor) -> Tensor:
        """Flat indices in the matrix of the batch's users and all items, of items [B, M] padded with 0."""
        rows = torch.arange(len(items), device=items.device).unsqueeze(1)
        return (rows * self.n_items + items)[items > 0]

    def _histories(self, positives: Tensor, n_users: int) -> Tensor:
        """First layer of users' histories after dropout, which draws for training items only. [B, d]."""
        starts = torch.searchsorted(positives, torch.arange(n_users, device=positives.device) * self.n_items)
        kept = self.dropout(torch.ones(len(positives), device=positives.device))
        items = positives % self.n_items
        sums = F.embedding_bag(items, self.h_item.weight.T, starts, per_sample_weights=kept, mode="sum")
        return sums + self.h_item.bias


def sample_loss(model: CDAE) -> None:
    """Let a CDAE of RecBole sample the items of its loss; nothing else about it changes."""
    model.__class__ = SampledLossCDAE
