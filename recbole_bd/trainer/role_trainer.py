"""RecBole's Trainer for one role: its warm-up, and its optimizer and best state in the distillation."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from recbole.trainer import Trainer
from recbole.utils import get_trainer

from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.names import SEPARATE
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, chosen_states, restore_snapshot, take_snapshot
from recbole_bd.backbones.traits import recbole_base, traits_of
from recbole_bd.compat import without_host_loggers
from recbole_bd.data.evaluation_loader import ArrayFullSortLoader, ArraySampledLoader
from recbole_bd.errors import TrainingError
from recbole_bd.evaluator.collector import ArrayCollector
from recbole_bd.evaluator.diversity import DefinedEvaluator
from recbole_bd.evaluator.shared_noise import shared_noise
from recbole_bd.system.distributed import group, per_process_rng, with_gradient_all_reduce
from recbole_bd.system.threads import one_thread
from recbole_bd.trainer.captured_step import CapturedSteps
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.health import Health
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.learner_state import learner_state, load_learner_state
from recbole_bd.trainer.optimizer import RateDecay, fused, rate_of
from recbole_bd.trainer.resumable import Keeper, Resumable, nothing_kept
from recbole_bd.trainer.steps_alone import steps_alone, train_alone
from recbole_bd.trainer.weights_average import WeightsAverage

logger = logging.getLogger(__name__)

# Base class for the type checker only; `role_trainer` puts RecBole's trainer behind `RoleTrainerMixin`.
_Host: Any = Trainer if TYPE_CHECKING else object


class RoleTrainerMixin(Resumable, _Host):
    """Mixin for the RecBole trainer of one role, of whatever class.

    - The best state by validation is kept in memory instead of a pickle.
    - Every validation and loss goes to the journal. Training can be stopped and resumed.
    - A loss that is not finite stops the run; the error names the epoch and the step.
    - The loss is that of the role: its model's, or the softmax.
    - With `weights_average`, the average of the weights is validated and kept as the best state.

    Attributes:
        role: the role whose model is trained.
        journal: receives validations, losses and durations.
        arm: `separate`, `distilled`, `continued` or `placebo`.
        beside: further parameters of the optimizer, outside the model; never part of a saved state.
        best: the best state by validation so far; None before the first validation.
        health: checks parameters, scores and validations.
        scaler: scales the gradients of the distillation stage where `enable_scaler` scales those of the warm-up, on a
            GPU; elsewhere it does nothing.
        epoch: the current epoch, from 0; -1 before the first.
        average: the moving average of the weights; without `weights_average` it never differs from them.
        rate_decay: sets the learning rate of each epoch.
        states: number of states to keep along the training, the best included, in `Snapshot.earlier`.
        captured: runs the steps of a warm-up as CUDA graphs; None where they are not captured.
    """

    role: Role
    journal: Journal
    arm: str
    beside: Sequence[torch.nn.Parameter]
    best: Snapshot | None
    health: Health
    scaler: torch.amp.GradScaler
    average: WeightsAverage
    rate_decay: RateDecay
    captured: CapturedSteps | None = None
    epoch, states = -1, 1

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        if self.arm != SEPARATE:
            for name in ("learning_rate", "weight_decay"):
                if self.config[f"distill_{name}"] is not None:
                    kwargs.setdefault(name, self.config[f"distill_{name}"])
        kwargs.setdefault("params", [*self.model.parameters(), *self.beside])
        optimizer = fused(super()._build_optimizer(**kwargs))
        self.average = WeightsAverage(self.model, self.config["weights_average"])
        self.average.follow(optimizer)
        decay = "learning_rate_decay" if self.arm == SEPARATE else "distill_learning_rate_decay"
        self.rate_decay = RateDecay(optimizer, self.config[decay])
        return optimizer

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> tuple[float, ...]:
        self.epoch = epoch_idx
        self._parts: Any = None
        name, arm = self.role.name, self.arm
        remedy = f"lower {self.health.rate} or set clip_grad_norm"
        host = super()._train_epoch
        # Some models have a trainer that passes over the data several times (RecVAE). A gradient scaler has state that
        # lasts an epoch.
        is_plain = getattr(host, "__func__", None) is Trainer._train_epoch and not self.enable_scaler
        self._is_shared = group().size > 1 and is_plain and self.role.shares_batches
        self.losses = EpochLosses(name, arm, epoch_idx, self.device, remedy, self._is_shared)

        def train(batches: Iterable) -> None:
            own_loss = loss_func or self.role.parts_of_loss
            if not is_plain and self.role.softmax is None:
                own_loss = loss_func  # a trainer of the model's own may ask it for other losses
            if is_plain and loss_func is None and self.captured is not None:
                train_alone(self, batches, show_progress)
            else:
                host(batches, epoch_idx, self._recording(own_loss) if is_plain else own_loss, show_progress)

        if self._is_trained(train_data):
            return tuple(self.losses.means().values())
        self.rate_decay.begin(epoch_idx)
        with self.journal.timed(f"{arm}_{name}_epoch"), one_thread(traits_of(self.model).short_steps):
            self._run_epoch(train_data, epoch_idx, train, by_batch=is_plain)
        means = self.losses.means()
        self.journal.loss(arm, name, epoch_idx, means, rate_of(self.optimizer))
        shown = ", ".join(f"{part} {value:.4f}" for part, value in means.items())
        logger.info("%s alone: epoch %d, loss %s", name, epoch_idx, shown)
        self._epoch_done(train_data, epoch_idx)
        return tuple(means.values())

    def _recording(self, calculate_loss: Callable) -> Callable:
        """Wrap a loss so that its parts are recorded for `_check_nan`, to which RecBole passes only their sum.

        With several processes, each computes its share of the rows and the gradients are summed. A loss that is no mean
        over rows is computed in full by each process.
        """
        own = group()

        def calculate(interaction: Any) -> Any:
            if not self._is_shared:
                self._parts = calculate_loss(interaction)
                return self._parts
            rows, weight = own.share(len(interaction))
            with per_process_rng():
                found = calculate_loss(interaction[rows])
            parts = [part * weight for part in (found if isinstance(found, tuple) else (found,))]
            parts[0] = with_gradient_all_reduce(parts[0], self.model.parameters())
            self._parts = tuple(parts) if len(parts) > 1 else parts[0]
            return self._parts

        return calculate

    def _check_nan(self, loss: torch.Tensor) -> None:
        if isinstance(self._parts, tuple) and len(self._parts) > 1:
            self.losses.add({f"loss{i}": part for i, part in enumerate(self._parts)})
        else:
            self.losses.add({"cf": loss})

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "attributes": changed_attributes(self.model),
            "losses": self.losses.state_dict(),
            **learner_state(self),
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        restore_attributes(self.model, state["attributes"])
        if hasattr(self, "losses"):
            self.losses.load_state_dict(state["losses"])
        load_learner_state(self, state)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        with self.average.applied():
            score, result = super()._valid_epoch(valid_data, show_progress)
        self.validated(result)
        self.health.after_validation(self.valid_metric, score, self.valid_metric_bigger)
        logger.info("%s %s: epoch %d, valid %s %.4f", self.role.name, self.arm, self.epoch, self.valid_metric, score)
        return score, result

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Take the validation of the present state, by metric, and record it."""
        self.valid_score = metrics[self.valid_metric]
        self.valid_result = {name: float(value) for name, value in metrics.items()}
        self.journal.validation(self.arm, self.role.name, self.epoch, self.valid_result)

    def evaluate(
        self, eval_data: Any, load_best_model: bool = False, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """RecBole's evaluation of the model in its current state; `load_best_model` and `model_file` are ignored.

        Returns:
            Metrics by name, e.g. `ndcg@10`.

        Raises:
            TrainingError: a parameter or a score is not finite, or the processes' parameters differ.
        """
        self.role.forget()
        self.eval_collector.is_shared = isinstance(eval_data, ArrayFullSortLoader | ArraySampledLoader)
        # RecBole divides larger batches of sampled evaluation.
        self.test_batch_size = getattr(eval_data, "pairs_at_once", self.config["eval_batch_size"])
        if len(set(group().all_gather(_fingerprint(self.model)))) > 1:
            raise TrainingError(f"{self.role.name}: the processes of this run have reached different parameters")
        self.eval_collector.watch = self.health.before_evaluation(self.epoch)
        with self.journal.timed("eval"), shared_noise(self.role, eval_data):
            result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        self.role.forget()
        return result

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        self.keeper.validating()
        return super()._full_sort_batch_eval(batched_data)

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        self.keeper.validating()
        return super()._neg_sample_batch_eval(batched_data)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        # RecBole calls this after a new best, and once with epoch -1 if there is nothing to train.
        if epoch < 0 and self.best is not None:
            return
        with self.average.applied():
            self.best = take_snapshot(self.model, epoch, getattr(self, "valid_result", None), self.best, self.states)

    def _add_train_loss_to_tensorboard(self, epoch_idx: int, losses: Any, tag: str = "Loss/Train") -> None:
        pass  # the journal has the means already

    def _add_hparam_to_tensorboard(self, best_valid_result: Any) -> None:
        pass  # the run folder holds the resolved configuration


def _fingerprint(model: torch.nn.Module) -> float:
    """Sum of all parameters, by which processes compare their models; 0 for a single process."""
    if group().size == 1:
        return 0.0
    return float(sum(parameter.detach().double().sum() for parameter in model.parameters()))


def role_trainer(
    role: Role,
    journal: Journal,
    arm: str,
    beside: Sequence[torch.nn.Parameter] = (),
    keeper: Keeper | None = None,
) -> Trainer:
    """RecBole's own trainer for a role's model, extended by `RoleTrainerMixin`.

    Args:
        role: the role to train or evaluate.
        journal: receives validations, losses and durations.
        arm: `separate`, `distilled`, `continued` or `placebo`.
        beside: further parameters of the role's optimizer, outside the model; never part of a saved state.
        keeper: writes the resume points; none by default.
    """
    base = recbole_base(type(role.model))
    host = get_trainer(role.config["MODEL_TYPE"], base.__name__ if base else role.config["model"])
    trainer_class: Any = type(f"Role{host.__name__}", (RoleTrainerMixin, host), {})
    trainer = trainer_class.__new__(trainer_class)
    # RecBole's constructor reads these attributes.
    trainer.role, trainer.journal, trainer.arm, trainer.beside, trainer.best = role, journal, arm, beside, None
    trainer.keeper = keeper or nothing_kept()
    with without_host_loggers():
        trainer.__init__(role.config, role.model)
    trainer.eval_collector, trainer.evaluator = ArrayCollector(role.config), DefinedEvaluator(role.config)
    trainer.enable_scaler = trainer.enable_scaler and trainer.device.type == "cuda"
    # RecBole makes the scaler of a warm-up itself, anew in every epoch.
    trainer.scaler = torch.amp.GradScaler(trainer.device.type, enabled=trainer.enable_scaler and arm != SEPARATE)
    rate = "learning_rate" if arm == SEPARATE else "distill_learning_rate"
    trainer.health = Health(role, arm, journal, rate, beside)
    trainer.captured = steps_alone(trainer) if arm == SEPARATE else None
    return trainer


def warm_up(
    role: Role,
    train_data: Any,
    valid_data: Any,
    journal: Journal,
    show_progress: bool,
    keeper: Keeper | None = None,
    resume_point: dict[str, Any] | None = None,
    kept_states: int = 1,
) -> Snapshot:
    """Train one role alone with RecBole's Trainer, its early stopping and its validation.

    The state before the first epoch is a candidate for the best one only if files gave it parameters (`pretrained`).
    New parameters are random: they are no model to recommend with, however the first validations turn out.

    Args:
        role: the role; its model ends in the best state.
        train_data: RecBole's training loader for its model.
        valid_data: RecBole's validation loader.
        journal: receives the record.
        show_progress: whether to draw progress bars.
        keeper: writes the resume points; none by default.
        resume_point: where to continue; None starts anew.
        kept_states: number of states to return, from early to best.

    Returns:
        The best state by validation; the others are its `earlier`.

    Raises:
        Interrupted: the user stops; the keeper has written the resume point.
        TrainingError: a loss, a parameter or a score is not finite.
    """
    if role.softmax is not None:
        role.softmax.begin()
    trainer = role_trainer(role, journal, SEPARATE, keeper=keeper)
    trainer.states = kept_states
    if resume_point is not None:
        trainer.resume_from(resume_point)
        trainer.epoch = resume_point["epoch"]
    with trainer.keeper.stop.deferred():
        if role.pretrained and resume_point is None:
            trainer.eval_collector.data_collect(train_data)
            trainer.best_valid_score, _ = trainer._valid_epoch(valid_data, show_progress)
            trainer._save_checkpoint(trainer.epoch)
        trainer.fit(train_data, valid_data, verbose=False, saved=True, show_progress=show_progress)
    if trainer.best is None or not trainer.best.valid:
        trainer._valid_epoch(valid_data, show_progress)
        trainer.best = None
        trainer._save_checkpoint(trainer.epoch)
    trainer.best.earlier = chosen_states(trainer.best, kept_states)
    restore_snapshot(role.model, trainer.best)
    role.forget()
    return trainer.best
