"""Imports modules while the devices compute, so that what needs them later does not wait."""

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def importing(*names: str) -> Iterator[Callable[[], None]]:
    """Yields a function that begins to import modules in a thread of its own; later calls do nothing.

    What cannot be imported is no error here, but where it is needed. The thread ends before the context does.
    """

    def bring() -> None:
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    thread = threading.Thread(target=bring, name="imports ahead", daemon=True)

    def begin() -> None:
        if thread.ident is None:
            thread.start()

    try:
        yield begin
    finally:
        if thread.ident is not None:
            thread.join()
