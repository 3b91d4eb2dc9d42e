"""Worker processes for work that holds Python's lock, such as decoding small images.

They import neither the main program, as those of multiprocessing do, nor JAX, and end when this
process ends, however it does.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from aljax.errors import RunError

MOST = 32  # processes
PROGRAM = "import sys; sys.path[:] = {path!r}; from aljax.data import workers; workers.serve()"

Ask = Callable[..., Any]


def cores() -> int:
    """Returns how many processes can run at once, at most `MOST`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MOST)


@contextlib.contextmanager
def started(count: int) -> Iterator[Ask]:
    """Yields `ask(function, *arguments)`, which calls a function in a free worker process.

    Args:
      count: processes; below 2 there are none, and `ask` calls the function itself. Threads may
        ask at the same time, as many as there are processes.

    Raises:
      RunError: from `ask`, if a worker process has ended; else what the function raises.
    """
    if count < 2:
        yield lambda function, *arguments: function(*arguments)
        return
    command = [sys.executable, "-c", PROGRAM.format(path=sys.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask(function: Callable[..., Any], *arguments: Any) -> Any:
        worker = free.get()
        try:
            pickle.dump((function, arguments), worker.stdin)
            worker.stdin.flush()
            result, error = pickle.load(worker.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as ended:
            raise RunError(f"a process that helps to read has ended (status {worker.wait()})") from ended
        finally:
            free.put(worker)
        if error is not None:
            raise error
        return result

    with contextlib.ExitStack() as processes:
        for _ in range(count):
            worker = processes.enter_context(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
            processes.callback(_end, worker)
            free.put(worker)
        yield ask


def _end(worker: Any) -> None:
    worker.kill()
    with contextlib.suppress(OSError):  # where it ended by itself, with a question unread
        worker.stdin.close()


def serve() -> None:
    """Answers the calls of the process that started this one, until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        result = raised = None
        try:
            result = function(*arguments)
        except Exception as error:
            raised = error
        pickle.dump((result, raised), answers)
        answers.flush()
