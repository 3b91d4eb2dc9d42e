import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from aljax.data import workers
from aljax.errors import RunError
from tests.harness import ROOT


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_functions_are_called_in_other_processes_that_end():
    with workers.started(2) as ask, ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda x: ask(math.sqrt, x), range(100))) == list(map(math.sqrt, range(100)))
        pids = set(threads.map(lambda _: ask(os.getpid), range(8)))
        assert ask(print, "what a library prints is no answer") is None
        with pytest.raises(ValueError, match="invalid literal"):
            ask(int, "x")
        assert ask(int, "7") == 7
    assert os.getpid() not in pids
    assert not any(map(alive, pids))


@pytest.mark.parametrize("count", [0, 1])
def test_one_process_is_this_one(count):
    with workers.started(count) as ask:
        assert ask(os.getpid) == os.getpid()


def test_a_worker_that_ends_is_reported_in_one_line():
    with workers.started(2) as ask:
        for _ in range(2):
            with pytest.raises(RunError, match=r"a process that helps to read has ended \(status 3\)"):
                ask(os._exit, 3)
        with pytest.raises(RunError):
            ask(bytes, 10**6)


KILLED = """
import os, time
from aljax.data import workers
with workers.started(2) as ask:
    print(ask(os.getpid), ask(os.getpid), flush=True)
    time.sleep(60)
"""


def test_workers_end_with_the_process_that_started_them():
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    with process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
