"""What the processes of a run have sent to a tool, so that a resumed run sends nothing twice."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_bd.errors import CheckpointError, named_damage, reason_of
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.trainer.loggers import Logger

# What a call of `log_metrics` sent: the common part of the names, and the step.
Sent = tuple[str, int]
# A line of the file after the first one: a call and its time, or how the process ended.
_NUMBERS, _STEP, _TIME, _END = "numbers", "step", "time", "end"


class SentNumbers:
    """Record of what was sent to a tool, in a file of the run folder: first the tool's run, then a line per call.

    Args:
        path: the file, which need not exist.

    Attributes:
        run: the run in the tool as the tool names it; empty before the first.
        calls: time of each call in seconds, by what it sent, in order.
        is_closed: whether the tool had written everything when the earlier process ended; True if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.run: dict[str, Any] = {}
        self.calls: dict[Sent, float] = {}
        self.is_closed = True
        if path.is_file():
            with named_damage(f"{path}, without which the run is logged anew,", CheckpointError):
                whole = path.read_text(encoding="utf-8").rpartition("\n")[0]  # a kill can cut the last line off
                first, *rest = map(json.loads, whole.splitlines())
                self.run = dict(first)
                self.calls = {
                    (str(one[_NUMBERS]), int(one[_STEP])): float(one[_TIME]) for one in rest if _END not in one
                }
                self.is_closed = any(_END in one for one in rest)

    def begin(self, run: dict[str, Any], arrived: int | None = None, unsure: float = 0.0) -> None:
        """Write which run of the tool receives the numbers from now on.

        Args:
            run: the run; if it is another than before, nothing counts as sent.
            arrived: number of calls that the tool says it has, if it knows; later ones count as not sent.
            unsure: seconds that the tool keeps numbers in memory. If the earlier process was killed, calls of so many
                seconds before the last one count as not sent.

        Raises:
            CheckpointError: the file cannot be written.
        """
        calls = list(self.calls.items())[:arrived] if run == self.run else []
        last = calls[-1][1] if calls and not self.is_closed else math.inf
        self.calls, self.run = {sent: when for sent, when in calls if when <= last - unsure}, run
        lines = [json.dumps(run), *(_line(*call) for call in self.calls.items())]
        write_whole(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, sent: Sent) -> None:
        """Record that numbers were sent.

        Raises:
            CheckpointError: the file cannot be written.
        """
        self.calls[sent] = round(time.time(), 3)
        self._append(_line(sent, self.calls[sent]))

    def end(self, status: str) -> None:
        """Record that the tool has written everything.

        Args:
            status: how the run ended.

        Raises:
            CheckpointError: the file cannot be written.
        """
        self._append(json.dumps({_END: status}))

    def _append(self, line: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {reason_of(error)}") from error


def _line(sent: Sent, when: float) -> str:
    return json.dumps({_NUMBERS: sent[0], _STEP: sent[1], _TIME: when})


class OnlyNew:
    """A logger that passes on what was not sent yet.

    Args:
        tool: the logger.
        sent: the record of what it has received.
    """

    def __init__(self, tool: Logger, sent: SentNumbers):
        self._tool, self._sent = tool, sent

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers that the tool does not have; see `Logger`."""
        sent = (next(iter(values), "").rpartition("/")[0], step)
        if values and sent not in self._sent.calls:
            self._tool.log_metrics(step, values)
            self._sent.add(sent)

    def close(self, status: str) -> None:
        """Close the tool's run."""
        self._tool.close(status)
        self._sent.end(status)
