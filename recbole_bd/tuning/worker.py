"""One trial in a process of its own: `python -m recbole_bd.tuning.worker`.

Standard input holds the settings as JSON. Standard output receives a JSON object a line: `{"validation": ...}` as it is
measured, and last `{"folder": ...}` of the finished run, or `{"error": ...}` in one line.
"""

import json
import sys
from typing import Any

from recbole_bd.errors import BDError, Interrupted
from recbole_bd.runs.pipeline import run_bd


def main() -> int:
    """Run the trial; the exit code is that of `recbole-bd run`."""
    settings = json.load(sys.stdin)
    channel, sys.stdout = sys.stdout, sys.stderr  # what RecBole prints is no event

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
