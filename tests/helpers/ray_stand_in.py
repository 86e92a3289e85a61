"""A stand-in for Ray Tune: it keeps what it is asked for, and runs the given draws one after another."""

from types import ModuleType, SimpleNamespace
from typing import Any

# Functions of Ray Tune that describe a range.
DOMAINS = ("choice", "uniform", "loguniform", "quniform", "qrandint")


class Stopped(BaseException):
    """Ends the function of a trial that the scheduler stops, as Ray does."""


class RayTune:
    """Ray Tune with the interface that this package uses.

    Args:
        draws: settings of each trial, in place of draws from the ranges.
        stopped: numbers of the trials that the scheduler stops at their first report.

    Attributes:
        asked: what a tuner was made of, by name of the argument; empty as long as none was made.
        module, schedulers: the modules `ray.tune` and `ray.tune.schedulers`.
    """

    def __init__(self, draws: list[dict[str, Any]], stopped: tuple[int, ...] = ()):
        self.draws, self.stopped, self.asked = draws, stopped, {}
        self.module, self.schedulers = ModuleType("ray.tune"), ModuleType("ray.tune.schedulers")
        for name in DOMAINS:
            setattr(self.module, name, lambda *given, _name=name: (_name, *given))
        for name in ("TuneConfig", "RunConfig"):
            setattr(self.module, name, lambda **given: given)
        self.module.with_resources = lambda function, resources: (function, resources)
        self.module.Tuner = self._tuner
        self.module.report = self._report
        self.module.get_context = lambda: SimpleNamespace(get_trial_id=lambda: f"trial{self._number}")
        self.schedulers.MedianStoppingRule = lambda **given: ("MedianStoppingRule", given)

    def _tuner(self, trainable: Any, **given: Any) -> SimpleNamespace:
        assert not self.asked, "one tuner is enough"
        self.asked = {"trainable": trainable, **given}
        return SimpleNamespace(fit=self._fit)

    def _report(self, metrics: dict[str, Any]) -> None:
        self._reports.append(metrics)
        if self._number in self.stopped:
            raise Stopped

    def _fit(self) -> list[SimpleNamespace]:
        assert self.asked["tune_config"]["num_samples"] == len(self.draws)
        function, results = self.asked["trainable"][0], []
        for number, drawn in enumerate(self.draws):
            self._number, self._reports = number, []
            error = None
            try:
                function(dict(drawn))
            except Stopped:
                pass
            except RuntimeError as failure:  # Ray gives the text of the traceback
                error = RuntimeError(f"Traceback (most recent call last):\nRuntimeError: {failure}\n")
            metrics = self._reports[-1] if self._reports else None
            results.append(SimpleNamespace(config=drawn, metrics=metrics, error=error))
        return results
