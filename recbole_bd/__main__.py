"""Entry point of `recbole-bd`, `python -m recbole_bd` and `python run_bd.py`."""

import signal
import sys
from collections.abc import Sequence

from recbole_bd import compat
from recbole_bd.errors import InstallationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line if the installation is complete.

    Args:
        arguments: words after the program's name; None reads `sys.argv`.

    Returns:
        Exit code: 2 if a package is missing or too new, 130 after Ctrl-C outside a run, otherwise the code of
        `cli.main.main`.
    """
    try:
        compat.require()
        from recbole_bd.cli.main import main as command  # imports RecBole and the methods of other packages

        return command(arguments)
    except InstallationError as error:
        print(f"recbole-bd: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # during imports or plots; a run handles the signal itself
        print("recbole-bd: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
