"""State of a role's trainer beside the model, for an exact resume."""

from typing import Any

import torch

from recbole_bd.backbones.snapshot import Snapshot


def learner_state(trainer: Any) -> dict[str, Any]:
    """The states of optimizers, scaler, average and own draws, and the best state so far, as plain data.

    Args:
        trainer: see `role_trainer`.
    """
    return {
        "optimizers": {name: optimizer.state_dict() for name, optimizer in _optimizers(trainer).items()},
        "scaler": trainer.scaler.state_dict(),
        "best": None if trainer.best is None else {**vars(trainer.best)},
        "average": trainer.average.state_dict(),
        "draws": None if trainer.role.softmax is None else trainer.role.softmax.generator.get_state(),
    }


def load_learner_state(trainer: Any, state: dict[str, Any]) -> None:
    """Continue from `learner_state`.

    Args:
        trainer: a new trainer of the same role.
        state: may be of an earlier version, which had no average.
    """
    optimizers = _optimizers(trainer)
    for name, own in state["optimizers"].items():
        optimizers[name].load_state_dict(own)
    if scale := state.get("scaler"):  # empty without scaling
        trainer.scaler.load_state_dict(scale)
    trainer.best = None if state["best"] is None else Snapshot(**state["best"])
    if "average" in state:
        trainer.average.load_state_dict(state["average"])
    if trainer.role.softmax is not None:
        trainer.role.softmax.generator.set_state(state["draws"].cpu())
    trainer.role.forget()


def _optimizers(trainer: Any) -> dict[str, torch.optim.Optimizer]:
    """Each optimizer of a trainer once, by the name of the last attribute that holds it."""
    held = {name: value for name, value in vars(trainer).items() if isinstance(value, torch.optim.Optimizer)}
    return {name: optimizer for optimizer, name in {optimizer: name for name, optimizer in held.items()}.items()}
