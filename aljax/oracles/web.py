"""A small HTTP server on the loopback address: requests in, replies out, and nothing for other sites.

A site that makes its name point here (rebinding) fails at Host; one that sends JSON from elsewhere (forgery)
would have to ask first, and is not answered.
"""

import contextlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

from absl import logging

from aljax.errors import InvalidInputError
from aljax.records import lines

LOOPBACK = "127.0.0.1"
HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")  # at any port, which may be forwarded
LARGEST = 1 << 20  # bytes of a request's body
CONNECTIONS = 64  # at once; each takes a file descriptor, which the run needs too
DISCARDED = 1 << 24  # bytes of one that is too large, which are read so that the refusal arrives
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


class Request(NamedTuple):
    """A request whose host is this one."""

    method: str  # "GET" or "POST"
    path: str
    query: Mapping[str, str]
    headers: Message  # found in any case
    body: bytes


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


Respond = Callable[[Request], Reply]


def json_reply(value: Any, status: int = 200) -> Reply:
    """Returns a reply of JSON."""
    return Reply(status, "application/json", json.dumps(value).encode())


def json_of(request: Request) -> Any:
    """Returns the JSON that a request holds; raises StatusError if it is none."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise StatusError(415, "accepted: application/json")
    try:
        return lines.parsed(request.body)
    except ValueError as error:
        raise StatusError(400, f"not JSON ({error})") from error


@contextlib.contextmanager
def serving(port: int, respond: Respond) -> Iterator[int]:
    """Serves on a port, of 0 any that is free, in threads; yields the port.

    Raises:
      InvalidInputError: if the port cannot be had.
    """
    try:
        server = Server(port, respond)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"config.page.port={port}: cannot be had ({reason}); accepted: a free port, or 0 for any that is"
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class Server(ThreadingHTTPServer):
    """Answers each request in a thread."""

    allow_reuse_port = False  # another process on the port is to be noticed

    def __init__(self, port: int, respond: Respond):
        self.respond = respond
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((LOOPBACK, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection; closes one too many."""
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs in one line what went wrong; a page that was closed is nothing wrong."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            logging.error("page: a request failed (%s: %s)", type(error).__name__, error)


class Handler(BaseHTTPRequestHandler):
    """Reads requests and writes replies."""

    server: Server
    protocol_version = "HTTP/1.1"  # connections stay, so that an answer costs no new one
    server_version, sys_version = "aljax", ""
    disable_nagle_algorithm = True
    timeout = 60  # seconds that a connection may be silent

    def do_GET(self) -> None:
        """Replies to a GET request."""
        self._handle(lambda: b"")

    def do_POST(self) -> None:
        """Replies to a POST request."""
        self._handle(self._body)

    def _handle(self, body: Callable[[], bytes]) -> None:
        try:
            content = body()
            hosts = self.headers.get_all("Host", [])
            if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
                raise StatusError(403, f"accepted: the host {LOOPBACK}")
            url = _url(self.path)
            request = Request(self.command, url.path, _query(url.query), self.headers, content)
            reply = self.server.respond(request)
        except StatusError as refusal:
            self.send_error(refusal.status, str(refusal))
        else:
            self._send(reply)

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

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends one line as JSON; what is left of the request is not read."""
        self.close_connection = True
        self._send(json_reply({"error": message or "this request is not understood"}, code))

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


def _url(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise StatusError(400, f"not an address ({error})") from error


def _query(text: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=20).items()}
    except ValueError as error:
        raise StatusError(400, f"not a query ({error})") from error
