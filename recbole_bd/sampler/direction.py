"""How the items that one role learns on are drawn."""

import math
from dataclasses import dataclass

from torch import Tensor

SAMPLINGS = ("rank_discrepancy", "uniform", "top", "own_top")
SHAPES = ("tanh", "exp")
RANK_ORDERS = ("paper", "reference")
RANK_SCALES = ("absolute", "relative", "logarithmic")


# Largest steepness: beyond it rank difference * steepness may overflow float32, and infinity * 0 is NaN.
STEEPEST = 1e25


@dataclass(frozen=True)
class Direction:
    """How the items that one role learns on are drawn.

    Attributes:
        sampling: `rank_discrepancy` (the paper), `uniform`, `top` (the head of the guide's list) or `own_top` (the head
            of the learner's list).
        shape: `tanh`, saturating, or `exp`, sharply peaked.
        eps: steepness of the shape per position. With `rank_scale` relative: per length of the catalogue. With
            logarithmic: per factor e between two ranks.
        rank_order: `paper`, items the guide ranks higher; `reference`, the public code's opposite.
        rank_scale: differences are `absolute`, in positions; `relative` to the number of items; or `logarithmic`,
            between the ranks' logarithms (not in the paper).
        guide_top: only so many first items of the guide's list are drawn by rank discrepancy; None: all.
        top_temperature: width of `top` and `own_top` in positions, p(rank r) proportional to
            exp(-r / top_temperature).

    Raises:
        ValueError: a value that is not allowed.
    """

    sampling: str = "rank_discrepancy"
    shape: str = "tanh"
    eps: float = 0.01
    rank_order: str = "paper"
    rank_scale: str = "absolute"
    top_temperature: float = 10.0
    guide_top: int | None = None

    def scale(self, n_items: int) -> float:
        """Factor of the rank difference in the shape's argument.

        Args:
            n_items: size of the catalogue with padding.

        Returns:
            `eps` per unit of the difference, 1e25 at most; negative for the reference's order.
        """
        steepness = min(self.eps / (n_items - 1) if self.rank_scale == "relative" else self.eps, STEEPEST)
        return -steepness if self.rank_order == "reference" else steepness

    def difference(self, learner_rank: Tensor, guide_rank: Tensor, scale: float) -> Tensor:
        """Argument of the shape: how much higher the guide ranks items than the learner.

        (rank_learner - rank_guide) * scale, or (ln rank_learner - ln rank_guide) * scale

        With logarithms, `exp` becomes the power (rank_learner / rank_guide) ** scale, and equal differences in
        positions count more at the top of a list.

        Args:
            learner_rank, guide_rank: float32 [C, K], 1 is best; changed in place.
            scale: see `scale`.

        Returns:
            float32 [C, K], the memory of `learner_rank`; NaN where a rank is.
        """
        if self.rank_scale == "logarithmic":
            learner_rank.log_()
            guide_rank.log_()
        return learner_rank.sub_(guide_rank).mul_(scale)

    def listed(self, learner: str, guide: str) -> str | None:
        """Name of the role whose list items are drawn from; None for other samplings."""
        return {"top": guide, "own_top": learner}.get(self.sampling)

    def ranked(self, learner: str, guide: str) -> tuple[str, ...]:
        """Names of the roles whose ranks are needed."""
        if self.sampling == "rank_discrepancy":
            return learner, guide
        listed = self.listed(learner, guide)
        return (listed,) if listed else ()

    def greatest(self, n_ranked: int, scale: float) -> float:
        """Upper bound of the absolute difference among `n_ranked` items."""
        return abs(scale) * (math.log(n_ranked) if self.rank_scale == "logarithmic" else n_ranked)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("sampling", SAMPLINGS),
            ("shape", SHAPES),
            ("rank_order", RANK_ORDERS),
            ("rank_scale", RANK_SCALES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if self.guide_top is not None and self.guide_top < 1:
            raise ValueError(f"guide_top={self.guide_top}: must be at least 1")
        for name in ("eps", "top_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: must be in (0, inf)")
