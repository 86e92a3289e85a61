"""The user's command: `python run_bd.py --dataset=ml-1m --config_files=properties/bd.yaml` is `recbole-bd run ...`."""

import sys

from recbole_bd.__main__ import main

if __name__ == "__main__":
    arguments = sys.argv[1:]
    alone = arguments and all(word in ("--help", "-h", "--version") for word in arguments)
    sys.exit(main(arguments if alone else ["run", *arguments]))
