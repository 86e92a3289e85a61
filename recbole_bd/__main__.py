"""`python -m recbole_bd` is the command line."""

import sys

from recbole_bd.cli import main

sys.exit(main())
