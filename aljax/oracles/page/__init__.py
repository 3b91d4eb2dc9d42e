"""An oracle that asks a person on a page, served on the loopback address of this machine.

Who has the address, printed with a token, labels; several people may, at once. The page shows an image
after the other, or a grid in which the model's guesses are confirmed; while the model trains it waits, and
goes on by itself.
"""

import contextlib
import secrets
import threading
from collections.abc import Iterator

from aljax.oracles.base import Session, Setting
from aljax.oracles.page.desk import Desk
from aljax.oracles.page.server import serving


@contextlib.contextmanager
def page(setting: Setting) -> Iterator[Session]:
    """Serves the page and prints its address; yields the session.

    Raises:
      InvalidInputError: if the port cannot be had.
    """
    token = secrets.token_urlsafe(24)
    desk = Desk(setting)
    with serving(desk, token, setting.port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        print(f"label at http://127.0.0.1:{server.server_port}/#{token}", flush=True)
        try:
            yield Session(desk.ask, desk.report)
            desk.part()
        finally:
            server.shutdown()
            thread.join()
