"""Child process of one trial: `python -m recbole_bd.tuning.worker`.

Standard input holds the settings as JSON. Standard output receives one JSON object a line: `{"validation": ...}` for
each validation, and at the end `{"folder": ...}` of the finished run, or `{"error": ...}` in one line.
"""

import json
import sys
from typing import Any

from recbole_bd.errors import BDError, Interrupted
from recbole_bd.system.startup import quick_imports

with quick_imports():
    from recbole_bd.runs.pipeline import run_bd


def main() -> int:
    """Run the trial; the exit code is that of `recbole-bd run`."""
    settings = json.load(sys.stdin)
    channel, sys.stdout = sys.stdout, sys.stderr  # keeps RecBole's prints out of the events

    def say(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    try:
        result = run_bd(command_line=settings, resume="auto", watch=lambda row: say({"validation": row}))
    except Interrupted as error:
        return error.exit_code
    except BDError as error:
        say({"error": str(error)})
        return error.exit_code
    say({"folder": result["run_folder"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
