"""Contract tests for code of your own: `check_backbone(BiasMF)` in a test of your package."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, init_seed
from torch import Tensor

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.checkpoint import load_model, save_model
from recbole_bd.backbones.names import BASELINE
from recbole_bd.backbones.registry import name_of_class
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import restore_snapshot, take_snapshot
from recbole_bd.backbones.traits import traits_of
from recbole_bd.config.config import BDConfig
from recbole_bd.config.role_config import RoleConfig
from recbole_bd.data.batches import train_loader
from recbole_bd.data.split import Split, load_split
from recbole_bd.errors import BDError, RoleError
from recbole_bd.model import METHODS
from recbole_bd.system.random_state import random_state, set_random_state

_USERS, _ITEMS, _TAKEN = 24, 30, 9
_SEED = 2020
# Largest part of the span of a user's scores by which two ways to compute them may disagree about an order.
_TOLERANCE = 1e-3


def check_backbone(model_class: type, settings: Mapping[str, Any] | None = None) -> None:
    """Check that a model can teach and, if it has parameters to train, learn.

    The model is built and trained for one epoch on 24 users and 30 items, on the CPU. A model that has no parameters to
    train, or needs a trainer of its own, is checked as a teacher.

    Args:
        model_class: a subclass of RecBole's `GeneralRecommender`.
        settings: settings of the model where its defaults do not suit such small data; its other options have the
            defaults of `<Class>.yaml` beside its module.

    Raises:
        BDError: the first thing that a backbone needs and this one lacks, in one line.
    """
    name = name_of_class(model_class)
    before = random_state()
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            _write_data(Path(folder))
            data = {"dataset": "tiny", "data_path": folder, "checkpoint_dir": folder, "device": "cpu", "seed": _SEED}
            config = BDConfig(name, config_dict={**data, "train_batch_size": 64, **(settings or {})}, methods=METHODS)
            _Contract(name, config.role(BASELINE), load_split(config), Path(folder)).check()
    finally:
        set_random_state(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep RecBole's remarks on the tiny data out of the caller's log."""
    logger = logging.getLogger("recbole")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_data(folder: Path) -> None:
    """Write two blocks: even users take even items, odd users odd ones."""
    lines = ["user_id:token\titem_id:token"]
    for user in range(_USERS):
        lines += [f"u{user}\ti{(2 * (user + step * 2) + user) % _ITEMS}" for step in range(_TAKEN)]
    (folder / "tiny").mkdir()
    (folder / "tiny" / "tiny.inter").write_text("\n".join(lines) + "\n")


class _Contract:
    """The checks of one model, in the order in which a breach is easiest to understand.

    Args:
        name: the model's name, at the beginning of every message.
        config: its settings.
        split: the tiny data.
        folder: an empty folder for files.
    """

    def __init__(self, name: str, config: RoleConfig, split: Split, folder: Path):
        self.name, self.config, self.split, self.folder = name, config, split, folder
        self.users = torch.arange(1, split.n_users)

    def check(self) -> None:
        """Run all checks."""
        role, same = self.built(), self.built()
        self.require(_alike(role, same), "two models built with the same seed differ: draw first values with torch")
        traits = traits_of(role.model)
        learns = not (traits.closed_form or traits.own_trainer or role.model.type == ModelType.TRADITIONAL)
        if learns:
            self.check_learning(self.built())
        if not traits.own_trainer:
            for one in (role, same):
                self.train(one, learns)
        self.require(_alike(role, same), "two models trained with the same seed differ: draw only with torch or NumPy")
        self.check_scores(role)
        if learns:
            self.check_freshness(role, same)
        self.check_state(role)
        if learns:
            self.check_taught(self.built())

    def require(self, holds: bool, breach: str) -> None:
        """Raise the error of a breach unless the condition holds."""
        if not holds:
            raise RoleError(f"{self.name}: {breach}")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Turn an exception of the model's own code into the error of a breach."""
        try:
            yield
        except BDError:
            raise
        except Exception as error:  # the user's code may raise anything
            text = " ".join(str(error).split())
            raise RoleError(f"{self.name}: {what} fails with {type(error).__name__}: {text}") from error

    def built(self) -> Role:
        """A newly built model; always with the same seed."""
        init_seed(_SEED, True)
        return build_role(BASELINE, self.config, self.split.train)

    def batches(self, role: Role) -> Iterator[Interaction]:
        """One epoch of the model's own training batches; always with the same seed."""
        init_seed(_SEED, True)
        loader = train_loader(self.config, self.split)
        if self.config["train_neg_sample_args"].get("dynamic"):
            loader.get_model(role.model)
        yield from loader

    def check_learning(self, role: Role) -> None:
        """Check the loss, and that its gradient reaches every parameter within an epoch."""
        role.model.train()
        self.require(role.parameter_count > 0, "it has no parameters that train; a closed form needs type TRADITIONAL")
        for batch in self.batches(role):
            with self.doing("calculate_loss"):
                loss = role.loss(batch)
            self.require(bool(torch.isfinite(loss)), f"calculate_loss gives {loss.item()} on untrained parameters")
            self.require(loss.requires_grad, "the loss of calculate_loss has no gradient: keep it a tensor of torch")
            with self.doing("backward of its loss"):
                loss.backward()
        gradients = {name: one.grad for name, one in role.model.named_parameters() if one.requires_grad}
        for name, gradient in gradients.items():
            self.require(gradient is not None, f"no gradient of calculate_loss reaches the parameter {name}")
            values = gradient.coalesce().values() if gradient.is_sparse else gradient
            self.require(bool(torch.isfinite(values).all()), f"the gradient of the parameter {name} is not finite")
        moved = any(bool(gradient.abs().sum() > 0) for gradient in gradients.values() if gradient is not None)
        self.require(moved, "all gradients of calculate_loss are 0")
        role.model.zero_grad()

    def train(self, role: Role, learns: bool) -> None:
        """Train for an epoch."""
        init_seed(_SEED, True)  # SGL draws graphs when it is set to training
        role.model.train()
        optimizer = torch.optim.Adam(role.model.parameters(), lr=0.01) if learns else None
        for batch in self.batches(role):
            with self.doing("calculate_loss"):
                loss = role.loss(batch)
            if optimizer:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        role.model.zero_grad()

    def check_scores(self, role: Role) -> None:
        """Check the model's own scores, and that the logits which methods exchange rank as they do."""
        pairs, rows = self.by_predict(role), self.by_full_sort_predict(role)
        known = {"predict": pairs, **({} if rows is None else {"full_sort_predict": rows})}
        for method, scores in known.items():
            self.require(bool(torch.isfinite(scores).all()), f"{method} gives scores that are not finite")
        if rows is not None:
            alike = _rank_alike(pairs, rows) or _rank_alike(rows, pairs)
            self.require(alike, "predict and full_sort_predict rank the items of a user differently")
        own = pairs if rows is None else rows
        logits = self.logits(role)
        self.require(_rank_alike(logits, own), "its logits rank the items of a user differently from its own scores")
        items = torch.arange(1, self.split.n_items).expand(len(self.users), -1)
        init_seed(_SEED, True)
        with role.scoring():
            some = role.pair_logits(self.users, items)
        self.require(_rank_alike(logits, some), "the logits of some items differ from those of all items")

    def by_predict(self, role: Role) -> Tensor:
        """Scores of `predict` [users, items], without padding."""
        model = role.model
        items = torch.arange(1, self.split.n_items)
        pairs = {model.USER_ID: self.users.repeat_interleave(len(items)), model.ITEM_ID: items.repeat(len(self.users))}
        scores = self.own_scores(role, "predict", Interaction(pairs))
        expected = len(self.users) * len(items)
        self.require(scores.numel() == expected, f"predict gives {scores.numel()} scores for {expected} pairs")
        return scores.reshape(len(self.users), -1)

    def by_full_sort_predict(self, role: Role) -> Tensor | None:
        """Scores of `full_sort_predict` [users, items], without padding; None if the model has no such method."""
        model = role.model
        if type(model).full_sort_predict is AbstractRecommender.full_sort_predict:
            return None
        scores = self.own_scores(role, "full_sort_predict", Interaction({model.USER_ID: self.users}))
        expected = len(self.users) * self.split.n_items
        self.require(
            scores.numel() == expected,
            f"full_sort_predict gives {scores.numel()} scores, but {len(self.users)} users have {self.split.n_items} "
            "items each, padding included",
        )
        return scores.reshape(len(self.users), -1)[:, 1:]

    def own_scores(self, role: Role, method: str, interaction: Interaction) -> Tensor:
        """Result of a scoring method of the model, in eval mode."""
        role.forget()
        role.model.eval()
        init_seed(_SEED, True)
        with torch.no_grad(), self.doing(method):
            scores = torch.as_tensor(getattr(role.model, method)(interaction)).float()
        role.forget()
        return scores

    def logits(self, role: Role) -> Tensor:
        """Logits of all items [users, items], without padding, as methods read them."""
        init_seed(_SEED, True)
        with role.scoring(), self.doing("scoring all items"):
            return role.all_logits(self.users)[:, 1:]

    def check_taught(self, role: Role) -> None:
        """Check that a gradient of the logits reaches the parameters."""
        role.model.train()
        items = torch.arange(1, 6).expand(len(self.users), -1)
        with self.doing("backward of its scores"):
            scores = role.pair_logits(self.users, items)
            self.require(scores.requires_grad, "its scores have no gradient, so that it cannot be taught by them")
            scores.square().sum().backward()
        reached = [one for one in role.model.parameters() if one.grad is not None and bool(one.grad.abs().sum() > 0)]
        self.require(bool(reached), "no gradient of its scores reaches a parameter, so that it cannot be taught")

    def check_freshness(self, scored: Role, unscored: Role) -> None:
        """Check that scores follow the parameters: of two equal models, one has kept nothing of earlier scores."""
        for role in (scored, unscored):
            with torch.no_grad():
                for one in role.model.parameters():
                    one.mul_(1.5).add_(0.01)
        self.require(
            _close(self.logits(scored), self.logits(unscored)),
            "its scores are older than its parameters: name the attributes in which it keeps results between calls in "
            "the caches of bd_traits",
        )

    def check_state(self, role: Role) -> None:
        """Check that a model restored from its file scores as it does."""
        path = self.folder / "model.pth"
        about = {"model": self.name, "dataset": "tiny", "fingerprint": self.split.fingerprint}
        save_model(path, take_snapshot(role.model), about)
        restored = self.built()
        restore_snapshot(restored.model, load_model(path)[0], self.name)
        self.require(
            _close(self.logits(role), self.logits(restored)),
            "a model restored from its file scores differently: keep what training changes in parameters, buffers or "
            "numeric attributes",
        )


def _alike(one: Role, other: Role) -> bool:
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _rank_alike(scores: Tensor, others: Tensor) -> bool:
    """Whether scores of the first kind order each row by scores of the second kind. [users, items] each."""
    sorted_others = others.gather(1, scores.argsort(dim=1, descending=True, stable=True))
    best_below = sorted_others.flip(1).cummax(dim=1).values.flip(1)
    span = others.amax(dim=1) - others.amin(dim=1)
    return bool(((best_below - sorted_others).amax(dim=1) <= _TOLERANCE * span).all())
