"""The user's command: `python run_bd.py --dataset=ml-1m --config_files=properties/bd.yaml` is `recbole-bd run ...`."""

import sys

from recbole_bd.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
