"""`BDTrainer`: trains the learners of a method together, by RecBole's `fit`."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from recbole.config import Config
from recbole.trainer import Trainer
from tqdm import tqdm

from recbole_bd.backbones.extra_state import changed_attributes, restore_attributes
from recbole_bd.backbones.names import CONTINUED, DISTILLED, PLACEBO
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.compat import without_host_loggers
from recbole_bd.data.batches import Batch, BatchStream
from recbole_bd.model.base import Distiller
from recbole_bd.trainer.distillation_step import DistillationStep
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.improvements import Improvements
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.learner_state import learner_state, load_learner_state
from recbole_bd.trainer.optimizer import rate_of
from recbole_bd.trainer.resumable import Keeper, Resumable, nothing_kept
from recbole_bd.trainer.role_trainer import role_trainer

logger = logging.getLogger(__name__)

# Names of the durations of an arm's epochs.
_EPOCH_OF = {DISTILLED: "distill_epoch", CONTINUED: "control_epoch", PLACEBO: "placebo_epoch"}


class BDTrainer(Resumable, Trainer):
    """Trains the learners of a `Distiller` together: each has its optimizer, its validations and its best state.

    The state that a learner starts from, with its validation, is the first candidate for its best state: epoch -1.
    RecBole's `fit` runs the epochs and the early stopping. The score given to early stopping is the number of
    validations at which a watched role (`stop_on`) reached a new best. Training therefore stops when no watched role
    improves any more. With `rest_at_best`, a role returns to its best state and stops learning as soon as early
    stopping by this role alone would have ended the training. An arm that `early_stopping` leaves out trains to the
    end, and its roles never rest.

    Args:
        config: settings of the run.
        model: the method with its two roles; a role that is no learner stays unchanged.
        journal: receives validations, losses and durations.
        keeper: writes the resume points; none by default.
        start: validation metrics of the learners' present states, by role. A role without them is validated before the
            first epoch.

    Attributes:
        arm: `distilled`, or a control: `continued` or `placebo`.
        trainers: RecBole's trainer of each learner by role; see `role_trainer`.
    """

    def __init__(
        self,
        config: Config,
        model: Distiller,
        journal: Journal | None = None,
        keeper: Keeper | None = None,
        start: Mapping[str, Mapping[str, float]] | None = None,
    ):
        self.keeper, self.start = keeper or nothing_kept(), start or {}
        self.arm = model.arm
        for name in model.learners:
            if (softmax := model.roles[name].softmax) is not None:
                softmax.begin()
        self.journal = journal or Journal()
        self.trainers = {
            name: role_trainer(
                model.roles[name],
                self.journal,
                self.arm,
                () if model.control else model.parameters_beside(name),
                self.keeper,
            )
            for name in model.learners
        }
        with without_host_loggers():
            super().__init__(config, model)
        self.epochs = config["distill_epochs"]
        self.eval_step = max(1, min(config["eval_step"], self.epochs))
        self.valid_metric_bigger = True  # _valid_epoch returns a count
        self.best_valid_score = 0
        stops = config["early_stopping"] == "all" or (config["early_stopping"] == "taught" and not model.control)
        self.rests = stops and config["rest_at_best"]
        if not stops:
            self.stopping_step = self.epochs  # more than there are validations
        watched = [name for name in self.trainers if config["stop_on"] in ("both", name)]
        self.improvements, self.valid_data = Improvements(self.trainers, watched), None
        self.step = DistillationStep(model, self.trainers, self.device, self.enable_amp)

    @property
    def best(self) -> dict[str, Snapshot]:
        """Each learner's best state by validation so far, that of its start included; empty before `fit`."""
        return {name: trainer.best for name, trainer in self.trainers.items() if trainer.best is not None}

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = False,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> Any:
        """RecBole's `fit` over `distill_epochs`; the best states are in `best` afterwards.

        Args:
            train_data: a `BatchStream`.
            valid_data: RecBole's validation loader; without one no state is compared with the start.
            verbose, saved, show_progress, callback_fn: as RecBole's `fit` takes them.

        Returns:
            The number of validations at which a watched role became better than its start and all states since; and the
            metrics by role at the last of them in this call of `fit`, or None.

        Raises:
            Interrupted: the user stops; the keeper has written the resume point.
            TrainingError: a loss, a parameter or a score is not finite.
            DataError: a score cannot be ranked.
        """
        for trainer in self.trainers.values():
            trainer.eval_collector.data_collect(train_data)
        self.valid_data = valid_data
        with self.keeper.stop.deferred():
            if self._resume_point is None:
                _enter_start(self, valid_data, show_progress)
            return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _build_optimizer(self, **kwargs: Any) -> None:
        return None  # each role's trainer has an optimizer

    def _train_epoch(
        self, train_data: BatchStream, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> tuple[float, ...]:
        self.epoch = epoch_idx
        self.losses = {name: _epoch_losses(self, name, epoch_idx) for name in self.trainers}
        if not self._is_trained(train_data):
            self._learn(train_data, epoch_idx, show_progress)
        _end_turn(self, show_progress)
        return tuple(sum(one.means().values()) for one in self.losses.values())

    def _learn(self, train_data: BatchStream, epoch_idx: int, show_progress: bool) -> None:
        """Train one epoch, or the rest of it after the resume point."""
        _refresh(self, epoch_idx, show_progress)
        for name, trainer in self.trainers.items():
            trainer.rate_decay.begin(self.improvements.of_turn(name, epoch_idx))

        def train(batches: Iterable[Batch]) -> None:
            self.model.train()
            bar = tqdm(batches, desc=f"{self.arm} {epoch_idx:>4}", disable=not show_progress)
            with self.step.epoch():
                for batch in bar:
                    self.step.update(batch.to(self.device), self.losses)
                    if show_progress and sum(one.steps for one in self.losses.values()) % 50 == 0:
                        bar.set_postfix_str(_progress_text(self))

        timed = _EPOCH_OF[self.arm]
        with self.journal.timed(timed):
            self._run_epoch(train_data, epoch_idx, train, by_batch=True)
        means = {name: one.means() for name, one in self.losses.items()}
        for name in self.step.learning(name for name, parts in means.items() if parts):
            self.journal.loss(self.arm, name, epoch_idx, means[name], rate_of(self.trainers[name].optimizer))
        seconds = self.journal.seconds[timed][-1]
        logger.info("%s: epoch %d in %.1f s, loss %s", self.arm, epoch_idx, seconds, _losses_text(means))
        self._epoch_done(train_data, epoch_idx)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "attributes": {name: changed_attributes(trainer.model) for name, trainer in self.trainers.items()},
            "learners": {name: learner_state(trainer) for name, trainer in self.trainers.items()},
            "losses": {name: one.state_dict() for name, one in self.losses.items()},
            **self.improvements.state_dict(),
            "resting": list(self.model.resting),
            "turn": self.model.turns.now,
            "sampling": self.model.sampling_state(),
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.model.load_sampling_state(state["sampling"])
        for name, trainer in self.trainers.items():
            restore_attributes(trainer.model, state["attributes"][name])
            load_learner_state(trainer, state["learners"][name])
            if hasattr(self, "losses"):
                self.losses[name].load_state_dict(state["losses"][name])
        self.improvements.load_state_dict(state)
        self.model.resting = list(state["resting"])
        self.model.turns.now = state.get("turn")  # earlier versions had none

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[int, dict[str, Any]]:
        improved, results = [], {}
        for name in self.step.learning(self.trainers):
            results[name] = _validate(self, name, valid_data, show_progress)
            if self.improvements.best_epochs[name] == self.epoch:
                improved.append(name)
            if self.rests and self.improvements.waited(name, self.epoch) > self.stopping_step * self.eval_step:
                _rest(self, name)
        if self.model.turns.are_to_come:
            self.cur_step = -1  # RecBole's early stopping waits for the last turn
        return self.improvements.counted(improved), results

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        pass  # each role's trainer keeps its own best

    def _generate_train_loss_output(self, epoch_idx: int, s_time: float, e_time: float, losses: Any) -> str:
        return ""  # _train_epoch logs the losses by role and part

    def _add_train_loss_to_tensorboard(self, epoch_idx: int, losses: Any, tag: str = "Loss/Train") -> None:
        pass  # the journal has them already

    def _add_hparam_to_tensorboard(self, best_valid_result: Any) -> None:
        pass  # the run folder holds the resolved configuration


def _epoch_losses(trainer: BDTrainer, role: str, epoch: int) -> EpochLosses:
    remedy = f"lower {role}.distill_learning_rate or the lambda of its direction"
    return EpochLosses(role, trainer.arm, epoch, trainer.device, remedy, role in trainer.step.shared_roles)


def _enter_start(trainer: BDTrainer, valid_data: Any, show_progress: bool) -> None:
    """Make the state that each learner starts from its best state so far, with its validation."""
    for name, one in trainer.trainers.items():
        known = trainer.start.get(name, {})
        if one.valid_metric in known:
            score = known[one.valid_metric]
            one.validated(known)
        elif valid_data:
            score, _ = one._valid_epoch(valid_data, show_progress)
        else:
            continue
        if trainer.improvements.begins_at(name, _upwards(one, score), name in trainer.model.new_starts):
            one._save_checkpoint(one.epoch)


def _validate(trainer: BDTrainer, name: str, valid_data: Any, show_progress: bool) -> dict[str, float]:
    """Validate a role after an epoch, keep its state if it is the best so far, and return its metrics."""
    one = trainer.trainers[name]
    one.epoch = trainer.epoch
    score, metrics = one._valid_epoch(valid_data, show_progress)
    if trainer.improvements.is_new_best(name, _upwards(one, score), trainer.epoch):
        one._save_checkpoint(one.epoch)
        with one.average.applied():
            trainer.model.new_best(name)
    return metrics


def _end_turn(trainer: BDTrainer, show_progress: bool) -> None:
    """Validate the role whose turn ends with this epoch, unless `eval_step` does: it then rests at its best state."""
    turns, is_validated = trainer.model.turns, (trainer.epoch + 1) % trainer.eval_step == 0
    if (
        turns.end_after(trainer.epoch)
        and not is_validated
        and trainer.valid_data
        and turns.now not in trainer.model.resting
    ):
        _validate(trainer, turns.now, trainer.valid_data, show_progress)


def _refresh(trainer: BDTrainer, epoch: int, show_progress: bool) -> None:
    """Let the method prepare an epoch, and the role whose turn it is begin."""
    model, journal = trainer.model, trainer.journal
    if trainer._resume_point is not None:  # it holds the samples and the turn, and the journal has the duration
        model.refresh(epoch)
        return
    with tqdm(total=model.n_users - 1, desc=f"refresh {epoch:>6}", disable=not show_progress, leave=False) as bar:
        before = len(journal.seconds.get("refresh", []))
        with journal.timed("refresh"):
            done = model.refresh(epoch, lambda count: bar.update(count - bar.n))
    if not done:
        del journal.seconds["refresh"][before:]
    else:
        logger.info("%s: ranks and samples refreshed in %.1f s", trainer.arm, journal.seconds["refresh"][-1])
    if model.turns.now is not None:
        trainer.improvements.begins_in(model.turns.now, epoch)
    for name in model.turns.over:
        if name not in model.resting:
            _rest(trainer, name)


def _rest(trainer: BDTrainer, name: str) -> None:
    """Restore the best state of a role, which learns no more."""
    one = trainer.trainers[name]
    if one.best is None:
        return
    restore_snapshot(one.model, one.best, f"best state of the {name}")
    trainer.model.resting.append(name)
    since = f"epoch {one.best.epoch}" if one.best.epoch >= 0 else "the start"
    logger.info("%s: the %s rests at its best state, from %s", trainer.arm, name, since)


def _upwards(trainer: Any, score: float) -> float:
    """A validation score of which more is better."""
    return score if trainer.valid_metric_bigger else -score


def _losses_text(means: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{role} " + " ".join(f"{name} {value:.4f}" for name, value in parts.items())
        for role, parts in means.items()
        if parts  # a role that rests or waits has none
    )


def _progress_text(trainer: BDTrainer) -> str:
    """Losses so far and the latest validations, for the progress bar."""
    losses = _losses_text({name: one.means() for name, one in trainer.losses.items()})
    known = {name: one.valid_score for name, one in trainer.trainers.items() if hasattr(one, "valid_score")}
    scores = ", ".join(f"{name} {score:.4f}" for name, score in known.items())
    return f"{losses} | valid {scores}" if scores else losses
