"""Warm-ups: trained once, kept, and taken over by other runs."""

import threading
import time
from pathlib import Path

from recbole_bd import run_bd
from recbole_bd.system.locks import exclusively
from tests.helpers.settings import alone


def test_a_warm_up_that_another_process_trains_is_waited_for(quick, caplog):
    settings = {**alone(quick), "model": "BPR"}
    run_bd(config_dict=settings)
    (cache,) = Path(quick["checkpoint_dir"]).glob("warmup/*.pth")
    aside = cache.rename(cache.with_suffix(".aside"))
    results = []
    waiter = threading.Thread(target=lambda: results.append(run_bd(config_dict=settings)))
    with caplog.at_level("INFO"):
        with exclusively(cache.with_suffix(".lock"), "test"):
            waiter.start()
            end = time.monotonic() + 60
            while "waiting for another process: warm-up of the model" not in caplog.text:
                assert time.monotonic() < end
                time.sleep(0.01)
            aside.rename(cache)
        waiter.join()
    assert "warm-up reused" in (Path(results[0]["run_folder"]) / "run.log").read_text()
