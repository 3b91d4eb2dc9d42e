"""Processes that run the launcher, forked from one in which the imports of a run are done.

To import them takes longer than most of what these processes do. Each begins as `python launch.py` does after
its imports: its own environment, folder, output and signals, and no device started.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.forked_imports"])


class Forked:
    """A run of the launcher, to be waited for, signalled and read as a `subprocess.Popen` is."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: str | Path | None = None,
        file_limit: int | None = None,
    ):
        """Starts `launch.py` with these arguments.

        Args:
          environment: all of it.
          folder: to run in; this process's own without it.
          file_limit: the bytes for which there is room in a file.
        """
        readers, writers = zip(*(SERVER.Pipe(duplex=False) for _ in range(2)), strict=True)
        self._process = SERVER.Process(
            target=_run,
            args=(list(arguments), dict(environment), str(folder or Path.cwd()), file_limit, writers),
        )
        self._process.start()
        for writer in writers:
            writer.close()
        self._said = [_Said(reader) for reader in readers]
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for its end; returns what it wrote to standard output and standard error."""
        self._process.join(timeout)
        if self.poll() is None:
            raise TimeoutError(f"still running after {timeout} s")
        output, errors = (said.text() for said in self._said)
        return output, errors


class _Said(threading.Thread):
    """Reads from a pipe, as it comes."""

    def __init__(self, reader):
        super().__init__(daemon=True)
        self._reader, self._text = reader, b""
        self.start()

    def run(self):
        with self._reader:
            while part := os.read(self._reader.fileno(), 65_536):
                self._text += part

    def text(self):
        self.join()
        return self._text.decode()


def _run(arguments, environment, folder, file_limit, writers):
    """Becomes `python launch.py ARGUMENTS`."""
    import jax

    for number, writer in enumerate(writers, start=1):
        os.dup2(writer.fileno(), number)
        writer.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    for name, value in environment.items():  # what JAX read when it was imported
        if name.startswith("JAX_") and os.environ.get(name) != value:
            kind = type(jax.config.values[name.lower()])
            jax.config.update(name.lower(), value if kind in (str, type(None)) else kind(value))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit,) * 2)
    sys.argv = [str(ROOT / "launch.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
