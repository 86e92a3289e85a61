"""One propagation of a model for all scores of a scope, and the switch to eval mode for scoring.

Changes model instances: while a scope is open, the methods that a scoring family lists in `shared` (such as `forward`
of a graph model) are replaced on their owner by ones that remember their results.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch.optim.optimizer import register_optimizer_step_post_hook

from recbole_bd.backbones.scoring.base import Scores
from recbole_bd.backbones.traits import caches_of


class SharedPropagation:
    """Scopes in which a model propagates once. Scopes may be nested; the outermost one holds the results.

    Args:
        model: RecBole's model.
        scores: its scoring family, which lists the methods to share.
    """

    def __init__(self, model: AbstractRecommender, scores: Scores):
        self.model = model
        self.scores = scores
        self._results: dict | None = None  # results of the open scope; None outside
        self._is_scoring = False

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Run the propagation once per mode, grad mode and state of the parameters while the scope is open."""
        if self._results is not None or not self.scores.shared:
            yield
            return
        results = self._results = {}
        # Fused optimizers change parameters without raising their version, so a hook drops the results too.
        hook = register_optimizer_step_post_hook(lambda *_: results.clear())
        for owner, method in self.scores.shared:
            setattr(owner, method, self._once(method, getattr(owner, method), results))
        try:
            yield
        finally:
            for owner, method in self.scores.shared:
                delattr(owner, method)
            hook.remove()
            self._results = None

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Score in eval mode without gradient, sharing one propagation, and leave the model as it was found.

        RecBole's caches are dropped on entry and exit. Modes are restored by flag and not through `train()`, which
        would make SGL draw new graphs in the middle of an epoch.
        """
        if self._is_scoring:
            yield
            return
        modes = [(module, module.training) for module in self.model.modules()]
        self.forget()
        self._is_scoring = True
        try:
            for module, _ in modes:
                module.training = False
            with torch.no_grad(), self.sharing():
                yield
        finally:
            self._is_scoring = False
            for module, mode in modes:
                module.training = mode
            self.forget()

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Scope of a single call. Scores through `full_sort_predict` must not find RecBole's old cache."""
        if not self._is_scoring:
            self.forget()
        with self.sharing():
            yield
        if not self._is_scoring:
            self.forget()

    def forget(self) -> None:
        """Drop the embeddings RecBole keeps between evaluations; a closed-form model keeps all it consists of."""
        for name in caches_of(self.model):
            if getattr(self.model, name, None) is not None:
                setattr(self.model, name, None)

    def _once(self, name: str, method: Callable, results: dict) -> Callable:
        def shared(*arguments: Any) -> Any:
            # Ids are safe keys: the entry holds the arguments. Changing a parameter in place raises its version.
            version = sum(parameter._version for parameter in self.model.parameters())
            key = (name, *map(id, arguments), self.model.training, torch.is_grad_enabled(), version)
            if key not in results:
                results[key] = (arguments, method(*arguments))
            return results[key][1]

        return shared
