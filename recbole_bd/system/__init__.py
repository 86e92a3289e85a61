"""What the package needs of Python and the machine: files, locks, archives, processes, signals, random state."""
