"""The page's HTTP server: the loopback address alone, and nothing without the token but the page itself.

    GET  /, /page.js, ...         the page, which holds no secret
    GET  /state                   what to show
    GET  /image?file=F[&tile=1]   the image of a question of the batch
    POST /answers                 an answer, or a list of them; 200 once they are on the disk

`/state` and `/answers` heed ?who=NAME&guess=1&grid=1, and return the same. A site that makes its name point
here (rebinding) fails at Host, one that sends requests here (forgery) at Origin and at the token, which is a
header that no other site can send.
"""

import hmac
import json
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from absl import logging

from aljax.data.images import UnreadableImageError
from aljax.errors import InvalidInputError, RunError
from aljax.oracles.page.desk import Desk, RefusedError
from aljax.oracles.page.pictures import picture
from aljax.oracles.page.state import Wish
from aljax.records import lines

LOOPBACK = "127.0.0.1"
HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")  # at any port, which may be forwarded
LARGEST = 1 << 20  # bytes of a request's body
DISCARDED = 1 << 24  # bytes of one that is too large, which are read so that the refusal arrives
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
STATIC = ("page.html", "page.css", "page.js", "grid.js", "server.js", "icon.svg")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Reply(NamedTuple):
    """A response."""

    status: int
    kind: str  # media type
    content: bytes


class StatusError(Exception):
    """Ends a request with a status and one line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves a desk's pages, each request in a thread."""

    allow_reuse_port = False  # another process on the port is to be noticed

    def __init__(self, desk: Desk, token: str, port: int):
        self.desk, self.token = desk, token
        self.shown_as_broken: set[str] = set()  # files that the terminal has named
        super().__init__((LOOPBACK, port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says in one line what went wrong; a page that was closed is nothing wrong."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            logging.error("page: a request failed (%s: %s)", type(error).__name__, error)


def serving(desk: Desk, token: str, port: int) -> Server:
    """Returns a server that holds its port; raises InvalidInputError if it cannot have it."""
    try:
        return Server(desk, token, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"config.page.port={port}: cannot be had ({reason}); accepted: a free port, or 0 for any that is"
        ) from error


class Handler(BaseHTTPRequestHandler):
    """Answers a page's requests."""

    server: Server
    protocol_version = "HTTP/1.1"  # connections stay, so that an answer costs no new one
    server_version, sys_version = "aljax", ""
    disable_nagle_algorithm = True
    timeout = 60  # seconds that a connection may be silent

    def do_GET(self) -> None:
        """Serves the page, what it shows, and images."""
        self._reply(self._get)

    def do_POST(self) -> None:
        """Takes answers."""
        self._reply(self._post)

    def _get(self) -> Reply:
        url = urlsplit(self.path)
        name = url.path.removeprefix("/") or "page.html"
        if name in STATIC:
            return static(name)
        self._check_sender()
        query = _query(url.query)
        if name == "state":
            return _json(200, self.server.desk.look(_wish(query)))
        if name == "image":
            return self._image(query.get("file", ""), query.get("tile") == "1")
        raise StatusError(404, "no such page")

    def _post(self) -> Reply:
        body = self._body()
        self._check_sender()
        url = urlsplit(self.path)
        if url.path != "/answers":
            raise StatusError(404, "no such page")
        if self.headers.get_content_type() != "application/json":
            raise StatusError(415, "accepted: application/json")
        try:
            sent = lines.parsed(body)
        except ValueError as error:
            raise StatusError(400, f"not JSON ({error})") from error
        try:
            self.server.desk.answer(sent if isinstance(sent, list) else [sent])
        except RefusedError as error:
            raise StatusError(400, str(error)) from error
        except RunError as error:
            raise StatusError(507, f"not saved: {error}") from error
        return _json(200, self.server.desk.look(_wish(_query(url.query))))

    def _body(self) -> bytes:
        """Reads the request's body, so that the connection is ready for the next."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise StatusError(411, "accepted: a body whose length the header tells")
        if len(length) > 9 or int(length) > LARGEST:
            left = min(int(length[:9]), DISCARDED)
            while left > 0 and (part := self.rfile.read(min(left, LARGEST))):
                left -= len(part)
            raise StatusError(413, f"accepted: at most {LARGEST:,} bytes")
        return self.rfile.read(int(length))

    def _check_host(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            raise StatusError(403, f"accepted: the host {LOOPBACK}")

    def _check_sender(self) -> None:
        """Refuses other sites' requests, and those without the token."""
        own = f"http://{self.headers['Host']}"
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.headers.get("Origin", own) != own or site not in ("same-origin", "none"):
            raise StatusError(403, "accepted: requests of this page alone")
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(sent, f"Bearer {self.server.token}".encode()):
            raise StatusError(401, "open the address that aljax printed when it started")

    def _image(self, file: str, tile: bool) -> Reply:
        question = self.server.desk.question(file)
        if question is None:
            raise StatusError(404, "no image of this batch")
        try:
            return Reply(200, *picture(question, self.server.desk.setting.images, tile))
        except UnreadableImageError as error:
            if file not in self.server.shown_as_broken:
                self.server.shown_as_broken.add(file)
                logging.warning("%s: %s; it may be skipped on the page", file, error)
            raise StatusError(410, f"{file}: {error}") from error

    def _reply(self, make: Callable[[], Reply]) -> None:
        try:
            self._check_host()
            reply = make()
        except StatusError as refusal:
            self.send_error(refusal.status, str(refusal))
            return
        self._send(reply)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends one line as JSON; what is left of the request is not read."""
        self.close_connection = True
        self._send(_json(code, {"error": message or "this request is not understood"}))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        kind = reply.kind + ("" if reply.kind.startswith("image/") else "; charset=utf-8")
        sent = {"Content-Type": kind, "Content-Length": str(len(reply.content)), **HEADERS}
        if self.close_connection:
            sent["Connection"] = "close"
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps requests off the terminal, where the run reports."""


def static(name: str) -> Reply:
    """Returns a file of the page."""
    content = (resources.files(__package__) / name).read_bytes()
    return Reply(200, KINDS[name.rpartition(".")[2]], content)


def _query(text: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=20).items()}
    except ValueError as error:
        raise StatusError(400, f"not a query ({error})") from error


def _wish(query: dict[str, str]) -> Wish:
    return Wish(query.get("who", ""), query.get("guess") == "1", query.get("grid") == "1")


def _json(status: int, value: Any) -> Reply:
    return Reply(status, "application/json", json.dumps(value).encode())
