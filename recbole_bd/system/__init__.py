"""Services of Python and the machine: atomic writes, locks, archives, processes, signals, random state."""
