"""The connections between the processes of a run: a star around the first, beside JAX's own.

Messages are a kind, a length and a content. To the first process they are JSON; from it, what it likes.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import jax
from absl import logging

import aljax
from aljax.errors import Interrupted, InvalidInputError, RunError, first_line

WAIT = 60  # seconds for all processes to come
GREETING = 2  # seconds for a new connection to say who it is
GREETED = 2**12  # bytes that it has for that
LOST = 20  # seconds without a sign of a host, after which it counts as lost
UNTOLD = 2  # seconds in which a failed operation may turn out to be another process's end
VALUE, END = b"v", b"e"  # kinds of messages
HEADER = struct.Struct("!cQ")
GOES_ON = "nothing is lost, and the same command goes on"
PLACED = "accepted: --coordinator=HOST:PORT of process 0, the same in all processes"
KEY = "aljax"  # of the first process's address, where JAX finds the places


class Place(NamedTuple):
    """The place of this process among those of a run."""

    host: str  # of the first process
    port: int
    number: int  # of this process, from 0
    size: int  # how many there are

    @property
    def coordinator(self) -> str:
        """The flag that names the first process."""
        return f"--coordinator={address(self.host, self.port)}"


def address(host: str, port: int) -> str:
    """Returns HOST:PORT, or [HOST]:PORT where the host has colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Peer:
    """A connection to another process."""

    def __init__(self, connection: socket.socket, number: int):
        self.number = number
        self.values: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # received, and not yet asked for
        self.socket = connection
        self._lock = threading.Lock()

    def send(self, kind: bytes, content: bytes) -> None:
        """Sends a message; that the other process is gone, the one who receives notices."""
        with self._lock, contextlib.suppress(OSError):
            self.socket.sendall(HEADER.pack(kind, len(content)) + content)

    def receive(self, most: int | None = None) -> tuple[bytes, bytes]:
        """Returns the kind and the content of the next message; raises OSError if none comes."""
        kind, length = HEADER.unpack(self._exactly(HEADER.size))
        if kind not in (VALUE, END) or (most is not None and length > most):
            raise OSError("is no process of aljax")
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        content = bytearray(count)
        left = memoryview(content)
        while left:
            received = self.socket.recv_into(left)
            if not received:
                raise ConnectionError("closed the connection")
            left = left[received:]
        return bytes(content)


class Team:
    """The processes of a run as one of them sees them: the first has all others as peers, they have it."""

    def __init__(self, number: int, count: int, peers: list[Peer]):
        self.number = number
        self.count = count
        self.closing = False  # whether the others may end without ending this process
        self._peers = peers
        self._ending = threading.Lock()  # of who ends this process: this thread, or one that follows a peer
        for peer in peers:
            peer.socket.settimeout(None)
            threading.Thread(target=self._follow, args=(peer,), daemon=True).start()

    def gathered(self, value: Any) -> list[Any]:
        """Returns the values of all processes, of the kinds that JSON has, in the first; else nothing."""
        content = json.dumps(value).encode()
        if self.number:
            self._peers[0].send(VALUE, content)
            return []
        return [json.loads(content), *(json.loads(peer.values.get()) for peer in self._peers)]

    def dealt(self, content: bytes = b"") -> bytes:
        """Returns, in every process, the content that the first one gives."""
        if self.number:
            return self._peers[0].values.get()
        for peer in self._peers:
            peer.send(VALUE, content)
        return content

    def part(self) -> None:
        """Waits for all processes to be done; from then on each may end."""
        self.gathered(None)
        self.closing = True
        self.dealt()

    def left(self, error: BaseException) -> BaseException:
        """Tells the others that this process ends with an error, if they do not know; returns the error."""
        ours = isinstance(error, (InvalidInputError, RunError, Interrupted))
        if not ours:
            time.sleep(UNTOLD)
        self._ending.acquire()
        if not ours and any(word in str(error) for word in ("Gloo", "NCCL", "coordination")):
            error = RunError(f"the processes lost each other ({_line(error)}); {GOES_ON}")
        if not self.closing:
            status = 2 if isinstance(error, InvalidInputError) else 1
            if isinstance(error, Interrupted):
                status = 128 + error.signal_number
            self._tell(status, f"process {self.number}: {_line(error)}")
        self.closing = True
        return error

    def _tell(self, status: int, text: str) -> None:
        for peer in self._peers:
            peer.send(END, json.dumps([status, text]).encode())

    def _follow(self, peer: Peer) -> None:
        """Receives what a peer sends; ends this process when it ends."""
        try:
            while True:
                kind, content = peer.receive()
                if kind == VALUE:
                    peer.values.put(content)
                elif not self.closing:
                    self._end(*json.loads(content))
        except OSError:
            if not self.closing:
                self._end(1, f"process {peer.number} of {self.count} has ended; {GOES_ON}")
            peer.values.put(b"null")

    def _end(self, status: int, text: str) -> NoReturn:
        self._ending.acquire()
        self._tell(status, text)
        _say(text)
        if self.number == 0:
            time.sleep(0.5)  # the others end by themselves, before JAX's service, which is here, is gone
        os._exit(status)


def met(place: Place) -> Team:
    """Meets the other processes at the address of the first, and starts JAX.

    Raises:
      InvalidInputError: if they do not come together.
    """
    deadline = time.monotonic() + WAIT
    port = 0
    if place.number == 0:
        with _listening(place) as server:
            peers = _others(server, place, deadline)
        port = _free_port(place.host)
        for peer in peers:
            peer.send(VALUE, json.dumps(port).encode())
    else:
        peers = [_first(place, deadline)]
        kind, content = _answer(peers[0], place, deadline)
        if kind == END:
            peers[0].socket.close()
            raise InvalidInputError(json.loads(content)[1])
        port = json.loads(content)
    _start(
        coordinator_address=address(place.host, port),
        coordinator_bind_address=address(_bound(place.host) or "::", port),
        num_processes=place.size,
        process_id=place.number,
        cluster_detection_method="deactivate",
    )
    return _following(Team(place.number, place.size, peers))


def detected() -> Team:
    """Starts JAX where it finds the places out, and meets the other processes.

    Raises:
      InvalidInputError: if it does not, or they do not come together.
    """
    _start()
    from jax._src import distributed  # JAX has no public name for the places

    found: Any = distributed.global_state

    host = str(found.coordinator_address).rpartition(":")[0].strip("[]")
    place = Place(host, 0, found.process_id, found.num_processes)
    deadline = time.monotonic() + WAIT
    if place.number == 0:
        with _listening(place) as server:
            found.client.key_value_set(KEY, str(server.getsockname()[1]))
            peers = _others(server, place, deadline)
        for peer in peers:
            peer.send(VALUE, b"0")
    else:
        place = place._replace(port=int(found.client.blocking_key_value_get(KEY, 1000 * WAIT)))
        peers = [_first(place, deadline)]
        _answer(peers[0], place, deadline)
    return _following(Team(place.number, place.size, peers))


def end(status: int) -> NoReturn:
    """Ends this process without what JAX does at its end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _start(**options: Any) -> None:
    """Starts JAX for the devices of all processes; raises InvalidInputError where it does not find them."""
    with contextlib.suppress(AttributeError):  # it would take SIGTERM, which saves a checkpoint here
        jax.config.update("jax_enable_preemption_service", False)
    try:
        with warnings.catch_warnings(record=True) as said:  # such as what a cluster is not found without
            jax.distributed.initialize(initialization_timeout=WAIT, **options)
    except Exception as error:  # of many kinds, by what finds the place out
        flag = "--coordinator" if options else "--distributed"
        reasons = "; ".join([first_line(error), *(" ".join(str(one.message).split()) for one in said)])
        accepted = (
            "processes that reach each other"
            if options
            else "within Slurm, MPI or Kubernetes or on TPUs; elsewhere --coordinator, --num_processes and "
            "--process_id"
        )
        raise InvalidInputError(f"{flag}: JAX does not start ({reasons}); accepted: {accepted}") from error
    for one in said:
        logging.warning("%s", " ".join(str(one.message).split()))


def _bound(host: str) -> str:
    """Returns the address on which to listen as `host`: that of loopback, or "" for all."""
    try:
        return host if host == "localhost" or ipaddress.ip_address(host).is_loopback else ""
    except ValueError:
        return ""


@contextlib.contextmanager
def _listening(place: Place) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        server = socket.create_server((_bound(place.host), place.port), family=family)
    except OSError as error:
        why = f"cannot be listened at ({error.strerror or error}); accepted: a free port of this host"
        raise InvalidInputError(f"{place.coordinator}: {why}") from error
    with server:
        yield server


def _free_port(host: str) -> int:
    with socket.create_server((_bound(host), 0)) as server:
        return server.getsockname()[1]


def _others(server: socket.socket, place: Place, deadline: float) -> list[Peer]:
    """Returns the other processes once all have come.

    Raises:
      InvalidInputError: if one does not, or does not go together with this one; those here are told.
    """
    there: dict[int, Peer] = {}

    def refuse(problem: str, *more: Peer) -> NoReturn:
        for peer in {*there.values(), *more}:
            peer.send(END, json.dumps([2, problem]).encode())
            peer.socket.close()
        raise InvalidInputError(problem)

    while len(there) < place.size - 1:
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            peer = Peer(_prepared(server.accept()[0]), 0)
        except TimeoutError:
            missing = next(number for number in range(1, place.size) if number not in there)
            refuse(
                f"--num_processes={place.size}: process {missing} did not come within {WAIT} s; "
                "accepted: as many processes as are started"
            )
        try:
            greeting = json.loads(peer.receive(GREETED)[1])
            peer.number = int(greeting["number"])
            problem = _problem(greeting, place, there)
        except (OSError, ValueError, KeyError, TypeError):  # no process of aljax
            peer.socket.close()
            continue
        if problem:
            refuse(problem, peer)
        there[peer.number] = peer
    return [there[number] for number in sorted(there)]


def _problem(greeting: dict[str, Any], place: Place, there: dict[int, Peer]) -> str | None:
    """Returns why a process does not go together with the first one, if it does not."""
    number = greeting["number"]
    if greeting["version"] != aljax.__version__:
        return (
            f"aljax: process {number} has version {greeting['version']}, and process 0 has "
            f"{aljax.__version__}; accepted: the same in all"
        )
    if greeting["count"] != place.size:
        return (
            f"--num_processes: is {greeting['count']} in process {number}, and {place.size} in process 0; "
            "accepted: the same in all"
        )
    if number in there or number == 0:
        return f"--process_id={number}: is given to two processes; accepted: 0 to {place.size - 1}, each once"
    return None


def _first(place: Place, deadline: float) -> Peer:
    """Returns the first process, once it is there and has been greeted; raises InvalidInputError else."""
    while True:
        try:
            connection = socket.create_connection((place.host, place.port), GREETING)
            if connection.getsockname() != connection.getpeername():  # else connected to itself, by chance
                break
            connection.close()
        except OSError as error:
            if time.monotonic() > deadline:
                why = f"does not answer within {WAIT} s ({error.strerror or error})"
                raise InvalidInputError(f"{place.coordinator}: {why}; {PLACED}") from error
        time.sleep(0.1)
    peer = Peer(_prepared(connection), 0)
    greeting = {"number": place.number, "count": place.size, "version": aljax.__version__}
    peer.send(VALUE, json.dumps(greeting).encode())
    return peer


def _answer(peer: Peer, place: Place, deadline: float) -> tuple[bytes, bytes]:
    peer.socket.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        return peer.receive(GREETED)
    except OSError as error:
        peer.socket.close()
        raise InvalidInputError(f"{place.coordinator}: {first_line(error)}; {PLACED}") from error


def _prepared(connection: socket.socket) -> socket.socket:
    """Returns a connection that is quick, and notices a host that is lost."""
    connection.settimeout(GREETING)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": LOST // 2, "TCP_KEEPINTVL": LOST // 4, "TCP_KEEPCNT": 2}
    for name, value in (options | {"TCP_USER_TIMEOUT": 1000 * LOST}).items():
        if hasattr(socket, name):  # on Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _following(team: Team) -> Team:
    """Ends this process in one line where JAX would end it with the trace of its own stack.

    JAX does so when the first process is gone, and may be quicker than what follows that one here.
    """
    if team.number:  # the first one shows the run
        own = os.dup(2)
        sys.stderr = os.fdopen(own, "w", buffering=1, errors="backslashreplace")
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)

    def aborted(_: int) -> None:
        team._end(1, f"process 0 of {team.count} has ended; {GOES_ON}")

    ctypes.CDLL(None).signal(signal.SIGABRT, _kept(aborted))
    return team


def _kept(function: Any) -> Any:
    """Returns a function as C calls it, which stays for as long as the process."""
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(function)
    _handlers.append(handler)
    return handler


_handlers: list[Any] = []


def _line(error: BaseException) -> str:
    return first_line(error) if isinstance(error, Exception) else type(error).__name__


def _say(text: str) -> None:
    """Prints a line on standard error, which may be in use at this moment."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), f"aljax: {' '.join(text.split())}\n".encode())
