"""Coverage of the processes that tests start."""

# Environment with which a process is measured. Measuring makes it a third slower, so only tests of code that runs
# nowhere else add this to the environment of theirs. Filled by conftest.py.
MEASURED: dict[str, str] = {}
