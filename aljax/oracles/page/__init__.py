"""An oracle that asks a person on a page, served on the loopback address of this machine.

Who has the address, printed with a token, labels; several people may, at once. The page shows an image
after the other, or a grid in which the model's guesses are confirmed; while the model trains it waits, and
goes on by itself.
"""

import contextlib
import secrets
from collections.abc import Iterator

from aljax.oracles import web
from aljax.oracles.base import Session, Setting
from aljax.oracles.page.desk import Desk
from aljax.oracles.page.server import responder


@contextlib.contextmanager
def page(setting: Setting) -> Iterator[Session]:
    """Serves the page and prints its address; yields the session.

    Raises:
      InvalidInputError: if the port cannot be had.
    """
    token = secrets.token_urlsafe(24)
    desk = Desk(setting)
    with web.serving(setting.port, responder(desk, token)) as port:
        print(f"label at http://{web.LOOPBACK}:{port}/#{token}", flush=True)
        yield Session(desk.ask, desk.report)
        desk.part()
