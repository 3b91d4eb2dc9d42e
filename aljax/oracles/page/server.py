"""Answers the page's requests; without the token, that for the page itself alone.

    GET  /, /page.js, ...         the page, which holds no secret
    GET  /state                   what to show
    GET  /image?file=F[&tile=1]   the image of a question of the batch
    POST /answers                 an answer, or a list of them; 200 once they are on the disk

`/state` and `/answers` heed ?who=NAME&guess=1&grid=1, and return the same. The token is a header, which no
other site can send.
"""

import hmac
from collections.abc import Mapping
from email.message import Message
from importlib import resources

from absl import logging

from aljax.data.images import UnreadableImageError
from aljax.errors import RunError
from aljax.oracles.page.desk import Desk, RefusedError
from aljax.oracles.page.pictures import picture
from aljax.oracles.page.state import Wish
from aljax.oracles.web import Reply, Request, Respond, StatusError, json_of, json_reply

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
STATIC = ("page.html", "page.css", "page.js", "screen.js", "grid.js", "keys.js", "server.js", "icon.svg")


def responder(desk: Desk, token: str) -> Respond:
    """Returns the function that replies to the requests of a desk's pages."""
    broken: set[str] = set()  # files that the terminal has named

    def respond(request: Request) -> Reply:
        name = request.path.removeprefix("/") or "page.html"
        if request.method == "GET" and name in STATIC:
            return static(name)
        check_sender(request.headers, token)
        match request.method, name:
            case "GET", "state":
                return json_reply(desk.look(wish(request.query)))
            case "GET", "image":
                return image(desk, request.query, broken)
            case "POST", "answers":
                return answers(desk, request)
        raise StatusError(404, "no such page")

    return respond


def check_sender(headers: Message, token: str) -> None:
    """Refuses other sites' requests, and those without the token."""
    own = f"http://{headers['Host']}"
    site = headers.get("Sec-Fetch-Site", "same-origin")
    if headers.get("Origin", own) != own or site not in ("same-origin", "none"):
        raise StatusError(403, "accepted: requests of this page alone")
    sent = headers.get("Authorization", "").encode("latin-1", "replace")
    if not hmac.compare_digest(sent, f"Bearer {token}".encode()):
        raise StatusError(401, "open the address that aljax printed when it started")


def static(name: str) -> Reply:
    """Returns a file of the page."""
    content = (resources.files(__package__) / name).read_bytes()
    return Reply(200, KINDS[name.rpartition(".")[2]], content)


def wish(query: Mapping[str, str]) -> Wish:
    """Returns what a query asks to be shown."""
    return Wish(query.get("who", ""), query.get("guess") == "1", query.get("grid") == "1")


def answers(desk: Desk, request: Request) -> Reply:
    """Takes answers; returns what to show then."""
    sent = json_of(request)
    try:
        desk.answer(sent if isinstance(sent, list) else [sent])
    except RefusedError as error:
        raise StatusError(400, str(error)) from error
    except RunError as error:
        raise StatusError(507, f"not saved: {error}") from error
    return json_reply(desk.look(wish(request.query)))


def image(desk: Desk, query: Mapping[str, str], broken: set[str]) -> Reply:
    """Returns the image of a question; logs once which cannot be shown."""
    file = query.get("file", "")
    question = desk.question(file)
    if question is None:
        raise StatusError(404, "no image of this batch")
    try:
        return Reply(200, *picture(question, desk.setting.images, query.get("tile") == "1"))
    except UnreadableImageError as error:
        if file not in broken:
            broken.add(file)
            logging.warning("%s: %s; it may be skipped on the page", file, error)
        raise StatusError(410, f"{file}: {error}") from error
