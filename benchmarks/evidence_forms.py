"""How many settings each form had, and how many core-seconds they took: a table from the records of the searches."""

from collections.abc import Mapping, Sequence
from typing import Any

from evidence_claims import RIVALS

from recbole_bd.backbones.names import PAIR

# Arms that are no other form of BD, each a column where one of its settings was tried.
_OTHERS = ("continued alone", *RIVALS, "BD (paper), searched", "BD (public code), searched")
_ABOUT = (
    "Settings tried at one seed, and core-seconds of all trials, those with further seeds included; every trial had "
    "one core. A trial that was cut short counts. *BD* has the arms that led to its form, named below; *all of BD* "
    "every arm of BD. The first setting of a search may come from another pair, with what was spent there: "
    "`benchmarks/evidence.yaml` says which."
)


def settings_table(
    plans: Mapping[str, Mapping[str, Any]], trials: Mapping[str, Sequence[Mapping[str, str]]]
) -> list[str]:
    """Write the table of settings and core-seconds by pair and form.

    Args:
        plans: boards of evidence.yaml by name, with `titles` of their arms; `led_to` names the arms that led to BD's
            form, and `unrecorded` what is in no trials.csv.
        trials: rows of each board's trials.csv.
    """
    found: dict[str, dict[str, str]] = {}
    notes = []
    for board, rows in trials.items():
        titles = plans[board]["titles"]
        led_to = ["BD", *plans[board].get("led_to", ())]
        tried = {row["arm"] for row in rows}
        arms = {name: [arm for arm in tried if titles.get(arm, arm) == name] for name in _OTHERS}
        arms |= {"separate": PAIR, "BD": led_to}
        arms["all of BD"] = sorted({row["arm"] for row in rows if row["arm"].startswith("BD")})
        found[board] = {column: _cell(rows, mine) for column, mine in arms.items()}
        if len(led_to) > 1:
            before = plans[board].get("unrecorded")
            names = ", ".join(f"*{name}*" for name in led_to[1:])
            notes.append(f"- {board}: {names} led to *{titles['BD']}*" + (f"; {before}." if before else "."))
    every = ("separate", *_OTHERS, "BD", "all of BD")
    columns = [name for name in every if any(cells[name] for cells in found.values())]
    lines = [_ABOUT, "", f"| pair | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    lines += [f"| {board} | {' | '.join(cells[column] for column in columns)} |" for board, cells in found.items()]
    return [*lines, "", *notes]


def _cell(rows: Sequence[Mapping[str, str]], arms: Sequence[str]) -> str:
    """Number of settings and core-seconds of some arms; empty where none was searched."""
    mine = [row for row in rows if row["arm"] in arms]
    if not mine:
        return ""
    settings = len({(row["arm"], row["trial"]) for row in mine})
    return f"{settings}: {sum(float(row['seconds'] or 0) for row in mine):,.0f} s"
