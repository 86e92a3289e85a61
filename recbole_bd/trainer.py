"""Training: RecBole's Trainer for one role, and `BDTrainer`, which trains the learners of a method together."""

import inspect
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from recbole.config import Config
from recbole.trainer import Trainer
from recbole.trainer import trainer as host_module
from recbole.utils import get_trainer
from torch.nn.utils.clip_grad import clip_grad_norm_
from tqdm import tqdm

from recbole_bd.checkpoint import Snapshot, restore_snapshot, take_snapshot
from recbole_bd.collector import ArrayCollector
from recbole_bd.data import Batch, BatchStream
from recbole_bd.errors import TrainingError
from recbole_bd.health import Health
from recbole_bd.journal import EpochLosses, Journal
from recbole_bd.model.base import Distiller
from recbole_bd.roles import Role

logger = logging.getLogger(__name__)

WARMUP, DISTILLED, CONTINUED = "separate", "distilled", "continued"


class _NoTensorBoard:
    """Takes what RecBole's Trainer would log (sums of losses, one role); the journal records means of both."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop it."""

    add_hparams = add_scalar


@contextmanager
def _without_host_tensorboard() -> Iterator[None]:
    """RecBole's Trainer opens ./log_tensorboard when it is built; runs of this package write to their own folder."""
    original = host_module.get_tensorboard
    host_module.get_tensorboard = lambda _: _NoTensorBoard()
    try:
        yield
    finally:
        host_module.get_tensorboard = original


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer with torch's fused update, which reads and writes every parameter once; others as they are.

    The mathematics are the same; rounding may differ in the last bit.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    plain = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) or not plain or not parameters:
        return optimizer
    (settings,) = optimizer.param_groups
    names = inspect.signature(type(optimizer)).parameters.keys() & settings.keys() - {"params", "foreach", "fused"}
    return type(optimizer)(parameters, **{name: settings[name] for name in names}, fused=True)


class RoleTrainerMixin:
    """What this package adds to the RecBole trainer of one role, whichever class that is.

    The best state by validation is kept in memory instead of a pickle; every validation and loss is journalled; a loss
    that is not finite stops the run with the place where it happened.
    """

    role: Role
    journal: Journal
    stage: str
    beside: Sequence[torch.nn.Parameter]
    best: Snapshot | None
    health: Health
    epoch = -1

    def _build_optimizer(self, **kwargs):
        if self.stage != WARMUP:
            for name in ("learning_rate", "weight_decay"):
                if self.config[f"distill_{name}"] is not None:
                    kwargs.setdefault(name, self.config[f"distill_{name}"])
        kwargs.setdefault("params", [*self.model.parameters(), *self.beside])
        return fused(super()._build_optimizer(**kwargs))

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self.epoch, self.step = epoch_idx, 0
        with self.journal.timed(f"{self.stage}_{self.role.name}_epoch"):
            total = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        parts = total if isinstance(total, tuple) else (total,)
        names = [f"loss{i}" for i in range(len(parts))] if len(parts) > 1 else ["cf"]
        means = {name: part / max(len(train_data), 1) for name, part in zip(names, parts, strict=True)}
        self.journal.loss(self.stage, self.role.name, epoch_idx, means)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        logger.info("%s alone: epoch %d, loss %s", self.role.name, epoch_idx, shown)
        return total

    def _check_nan(self, loss):
        self.step += 1
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the {self.role.name}'s loss became {loss.item()} ({self.role.config['model']}, stage {self.stage}, "
                f"epoch {self.epoch}, step {self.step}): its updates were most likely too large; lower "
                f"{self.health.rate} or set clip_grad_norm"
            )

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.valid_score, self.valid_result = score, {name: float(value) for name, value in result.items()}
        self.journal.validation(self.stage, self.role.name, self.epoch, self.valid_result)
        self.health.after_validation(self.valid_metric, score, self.valid_metric_bigger)
        logger.info("%s %s: epoch %d, valid %s %.4f", self.role.name, self.stage, self.epoch, self.valid_metric, score)
        return score, result

    def evaluate(self, eval_data, load_best_model=False, model_file=None, show_progress=False):
        """RecBole's evaluation of the model as it is now; metrics by name."""
        self.role.forget()
        self.eval_collector.watch = self.health.before_evaluation(self.epoch)
        with self.journal.timed("eval"):
            result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        self.role.forget()
        return result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        # RecBole calls this when validation improved (or once, when there is nothing to train).
        self.best = take_snapshot(self.model, epoch, getattr(self, "valid_result", None))

    def _add_train_loss_to_tensorboard(self, epoch_idx, losses, tag="Loss/Train"):
        pass  # the journal has the means already

    def _add_hparam_to_tensorboard(self, best_valid_result):
        pass  # the run folder holds the resolved configuration


def role_trainer(role: Role, journal: Journal, stage: str, beside: Sequence[torch.nn.Parameter] = ()) -> Trainer:
    """RecBole's own trainer for a role's model, with `RoleTrainerMixin` in front.

    Args:
        role: the role to train or evaluate.
        journal: receives validations, losses and durations.
        stage: `separate`, `distilled` or `continued`.
        beside: what else the role's optimizer updates; never part of a saved state.
    """
    host = get_trainer(role.config["MODEL_TYPE"], role.config["model"])
    trainer_class = type(f"Role{host.__name__}", (RoleTrainerMixin, host), {})
    trainer = trainer_class.__new__(trainer_class)
    # Read while RecBole's constructor runs.
    trainer.role, trainer.journal, trainer.stage, trainer.beside, trainer.best = role, journal, stage, beside, None
    with _without_host_tensorboard():
        trainer.__init__(role.config, role.model)
    trainer.eval_collector = ArrayCollector(role.config)
    rate = "learning_rate" if stage == WARMUP else "distill_learning_rate"
    trainer.health = Health(role, stage, journal, rate, beside)
    return trainer


def warm_up(role: Role, train_data: Any, valid_data: Any, journal: Journal, show_progress: bool) -> Snapshot:
    """Train one role alone with RecBole's Trainer, its early stopping and its validation.

    Args:
        role: the role; on return its model is in the best state.
        train_data: RecBole's training loader for its model.
        valid_data: RecBole's validation loader.
        journal: receives the record.
        show_progress: whether to draw progress bars.

    Returns:
        The best state by validation.
    """
    trainer = role_trainer(role, journal, WARMUP)
    trainer.epoch = -1
    trainer.fit(train_data, valid_data, verbose=False, saved=True, show_progress=show_progress)
    if trainer.best is None or not trainer.best.valid:
        trainer._valid_epoch(valid_data, show_progress)
        trainer._save_checkpoint(trainer.epoch)
    restore_snapshot(role.model, trainer.best)
    role.forget()
    return trainer.best


class BDTrainer(Trainer):
    """Trains the learners of a `Distiller` together: an optimizer per role, all validated, each role's best kept.

    RecBole's `fit` runs the epochs and its early stopping; what it is told to watch is the number of validations at
    which a watched role (`stop_on`) reached a new best, so that it stops when none improves any more.

    Args:
        config: settings of the run.
        model: the method with its two roles; one that is no learner is left alone.
        journal: receives validations, losses and durations.
        show_progress: whether to draw progress bars.
    """

    def __init__(self, config: Config, model: Distiller, journal: Journal | None = None):
        self.stage = CONTINUED if model.control else DISTILLED
        self.journal = journal or Journal()
        self.trainers = {
            name: role_trainer(
                model.roles[name], self.journal, self.stage, () if model.control else model.parameters_beside(name)
            )
            for name in model.learners
        }
        with _without_host_tensorboard():
            super().__init__(config, model)
        self.epochs = config["distill_epochs"]
        self.eval_step = max(1, min(config["eval_step"], self.epochs))
        self.valid_metric_bigger = True  # of the count that _valid_epoch returns
        self.best_valid_score = -math.inf
        self.best_scores = dict.fromkeys(self.trainers, -math.inf)
        self.watched = [name for name in self.trainers if config["stop_on"] in ("both", name)]
        self.improvements = 0

    @property
    def best(self) -> dict[str, Snapshot]:
        """Each learner's best state by validation so far; empty before the first validation."""
        return {name: trainer.best for name, trainer in self.trainers.items() if trainer.best is not None}

    def fit(self, train_data, valid_data=None, verbose=False, saved=True, show_progress=False, callback_fn=None):
        """RecBole's `fit` over `distill_epochs`; the best states are in `best` afterwards."""
        for trainer in self.trainers.values():
            trainer.eval_collector.data_collect(train_data)
        return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _build_optimizer(self, **kwargs):
        return None  # each role's trainer has its own

    def _train_epoch(self, train_data: BatchStream, epoch_idx, loss_func=None, show_progress=False):
        self._refresh(epoch_idx, show_progress)
        self.model.train()
        losses = {name: EpochLosses(name, self.stage, epoch_idx, self.device) for name in self.trainers}
        with self.journal.timed("distill_epoch" if self.stage == DISTILLED else "control_epoch"):
            bar = tqdm(
                train_data, total=len(train_data), desc=f"{self.stage} {epoch_idx:>4}", disable=not show_progress
            )
            for batch in bar:
                self._step(batch.to(self.device), losses)
                if show_progress and sum(one.steps for one in losses.values()) % 50 == 0:
                    bar.set_postfix_str(self._progress_text(losses))
        means = {name: one.means() for name, one in losses.items()}
        for name, parts in means.items():
            self.journal.loss(self.stage, name, epoch_idx, parts)
        seconds = self.journal.seconds["distill_epoch" if self.stage == DISTILLED else "control_epoch"][-1]
        logger.info("%s: epoch %d in %.1f s, loss %s", self.stage, epoch_idx, seconds, _losses_text(means))
        return tuple(sum(parts.values()) for parts in means.values())

    def _refresh(self, epoch: int, show_progress: bool) -> None:
        n_users = self.model.n_users - 1
        with tqdm(total=n_users, desc=f"refresh {epoch:>6}", disable=not show_progress, leave=False) as bar:
            before = len(self.journal.seconds.get("refresh", []))
            with self.journal.timed("refresh"):
                done = self.model.refresh(epoch, lambda count: bar.update(count - bar.n))
        if not done:
            del self.journal.seconds["refresh"][before:]
        else:
            logger.info("%s: ranks and samples refreshed in %.1f s", self.stage, self.journal.seconds["refresh"][-1])

    def _step(self, batch: Batch, losses: dict[str, EpochLosses]) -> None:
        """One update of every role that learns from the batch; both losses are taken before either update."""
        learning = [name for name in batch.roles if name in self.trainers]
        parts, totals = {}, {}
        with self.model.step():
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                for name in learning:
                    parts[name] = self.model.loss(name, batch)
                    totals[name] = sum(parts[name].values())
            for name in learning:
                losses[name].add(parts[name])
                self.trainers[name].optimizer.zero_grad()
                totals[name].backward()
        for name in learning:
            trainer = self.trainers[name]
            if trainer.clip_grad_norm:
                clip_grad_norm_([*trainer.model.parameters(), *trainer.beside], **trainer.clip_grad_norm)
            trainer.optimizer.step()

    def _valid_epoch(self, valid_data, show_progress=False):
        improved, results = set(), {}
        for name, trainer in self.trainers.items():
            trainer.epoch = self._last_epoch()
            score, results[name] = trainer._valid_epoch(valid_data, show_progress)
            signed = score if trainer.valid_metric_bigger else -score
            if signed > self.best_scores[name]:
                self.best_scores[name] = signed
                trainer._save_checkpoint(trainer.epoch)
                improved.add(name)
        if not improved.intersection(self.watched):
            return -1, results
        self.improvements += 1
        return self.improvements, results

    def _last_epoch(self) -> int:
        return self.journal.losses[-1]["epoch"]

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        pass  # each role's trainer keeps its own best

    def _generate_train_loss_output(self, epoch_idx, s_time, e_time, losses):
        return ""  # logged by _train_epoch, by role and part

    def _add_train_loss_to_tensorboard(self, epoch_idx, losses, tag="Loss/Train"):
        pass  # the journal has them already

    def _add_hparam_to_tensorboard(self, best_valid_result):
        pass  # the run folder holds the resolved configuration

    def _progress_text(self, losses: dict[str, EpochLosses]) -> str:
        valid = ", ".join(f"{n} {t.valid_score:.4f}" for n, t in self.trainers.items() if hasattr(t, "valid_score"))
        return _losses_text({name: one.means() for name, one in losses.items()}) + (
            f" | valid {valid}" if valid else ""
        )


def _losses_text(means: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{role} " + " ".join(f"{name} {value:.4f}" for name, value in parts.items()) for role, parts in means.items()
    )
