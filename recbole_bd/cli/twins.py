"""Output of `recbole-bd compare RUN --twin=RUN`."""

import json
from dataclasses import asdict

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.runs.same_settings import differing_settings
from recbole_bd.runs.text_table import grid
from recbole_bd.runs.twins import Pair, twins

_EXPLAINED = """\
other / teacher: means of the validation values. correlation: of these values, over users.
best of two: gain of whoever knew the better model for each user over the better model.
wins: share of test interactions whose item the other model ranks higher than the teacher; trained items: without items
that never occur in training. The twin shows what another seed alone changes; the rest is what the student knows."""


def compared_with_twin(run: str, twin: str, as_json: bool) -> str:
    """Compare a run's student with a twin of its teacher, as text.

    Args:
        run: the run folder.
        twin: folder of a run with the same teacher of another seed.
        as_json: whether the text is JSON instead of a table.

    Raises:
        ComparisonError: the runs do not fit together, or lack stored values.
    """
    found = twins(run, twin)
    metric = found.run["valid_metric"]
    keys = differing_settings([run, twin], TEACHER)
    notes = [f"warning: the twin is another teacher: the runs differ in {', '.join(keys)}"] if keys else []
    if as_json:
        pairs = [
            {
                "teacher_and": pair.other,
                **asdict(pair.by_validation),
                "wins": pair.wins,
                "wins_trained": pair.wins_trained,
            }
            for pair in found.pairs
        ]
        about = {"run": run, "twin": twin, "metric": metric, "users": found.users, "notes": notes}
        return json.dumps({**about, "pairs": pairs}, indent=2)
    models = {
        name: f"{found.run[name]['model']}, {found.run[name]['parameters']:,} parameters" for name in (TEACHER, STUDENT)
    }
    header = ["teacher and", "other / teacher", "correlation", "best of two", "wins", "wins, trained items"]
    return "\n".join(
        [
            f"teacher: {models[TEACHER]}, seed {found.run['seed']}, {run}",
            f"student: {models[STUDENT]}",
            f"twin: the teacher of seed {found.twin['seed']}, {twin}",
            "",
            f"before distillation, by validation {metric} of {found.users} users:",
            grid(header, [_cells(pair) for pair in found.pairs], (0,)),
            "",
            _EXPLAINED,
            *notes,
        ]
    )


def _cells(pair: Pair) -> list[str]:
    found = pair.by_validation
    values = [
        (found.ratio, "{:.1%}"), (found.correlation, "{:+.3f}"), (found.headroom, "{:+.1%}"), (pair.wins, "{:.1%}"),
        (pair.wins_trained, "{:.1%}"),
    ]  # fmt: skip
    return [pair.other, *("not defined" if value is None else form.format(value) for value, form in values)]
