"""The processes of one run on many hosts: they join, agree, stay in step, and end together.

Each runs the same program over the devices of all, as JAX asks. What one of them alone knows (what stands in
the run directory, a signal, an error) reaches the others through the first, over connections that are not
JAX's: they carry it while devices compute, and close at once when a process ends, whatever ended it.
Without `joined` there is one process, and everything here is as if the rest did not exist.
"""

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from aljax.errors import InvalidInputError, NonFiniteError, RunError
from aljax.runtime import team as teams
from aljax.runtime.team import Place, Team

__all__ = ["Place", "agree", "count", "each", "entered", "highest", "is_first", "joined", "leave", "shared"]

SHARED = {kind.__name__: kind for kind in (InvalidInputError, RunError, NonFiniteError)}

T = TypeVar("T")
Problem = tuple[str, str]  # an error's kind and text

_team: Team | None = None


@contextlib.contextmanager
def joined(place: Place | None = None, detect: bool = False) -> Iterator[None]:
    """Joins the processes of a run, and starts JAX for the devices of all.

    To be entered before JAX starts its devices. Whatever ends one of the processes ends the others too, with
    a line on standard error.

    Args:
      place: of this process; None to run alone.
      detect: lets JAX find the place out, within Slurm, MPI or Kubernetes, or on TPUs.

    Raises:
      InvalidInputError: if the processes do not come together.
      RunError: if they lose each other.
    """
    global _team
    if place is None and not detect:
        yield
        return
    _team = teams.detected() if place is None else teams.met(place)
    try:
        yield
        _team.part()
    except BaseException as error:
        reported = _team.left(error)
        if reported is error:
            raise
        raise reported from error


def leave(status: int) -> None:
    """Ends this process if it joined others and did not succeed: JAX would wait for them at its end."""
    if _team is not None and status:
        teams.end(status)


def count() -> int:
    """Counts the processes of this run."""
    return 1 if _team is None else _team.count


def is_first() -> bool:
    """Tells whether this process is the one that writes the run directory."""
    return _team is None or _team.number == 0


def shared(make: Callable[[], T]) -> T:
    """Calls a function in the first process alone; in all, returns what it returns or raises what it raises.

    Raises:
      InvalidInputError, RunError: if the function does; what else it raises ends the other processes.
    """
    if _team is None:
        return make()
    if _team.number:
        problem, value = pickle.loads(_team.dealt())
    else:
        problem, value = _outcome(make)
        _team.dealt(pickle.dumps((problem, value)))
    _raise(problem)
    return value


def each(make: Callable[[], T]) -> T:
    """Calls a function in every process, and in the first before the others: it may fill a cache for them.

    Raises:
      InvalidInputError, RunError: in all processes, if the function does in one.
    """
    if _team is None:
        return make()
    problem, value = _outcome(make) if _team.number == 0 else (None, None)
    _raise(json.loads(_team.dealt(json.dumps(problem).encode())))
    if _team.number:
        problem, value = _outcome(make)
    problems = enumerate(_team.gathered(problem))
    named = [(one[0], f"process {number}: {one[1]}") for number, one in problems if one]
    _raise(json.loads(_team.dealt(json.dumps(named[0] if named else None).encode())))
    return value  # type: ignore[return-value]


@contextlib.contextmanager
def entered(context: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """Enters a context in the first process alone; what entering raises is raised in all."""
    with contextlib.ExitStack() as stack:

        def enter() -> None:
            stack.enter_context(context)

        shared(enter)
        yield


def agree(fields: Mapping[str, Any]) -> None:
    """Compares fields, of the kinds that JSON has, between the processes.

    Raises:
      InvalidInputError: in all processes, with the first field that differs.
    """
    if _team is None:
        return
    first, *others = _team.gathered(fields) or [{}]

    def compare() -> None:
        for number, own in enumerate(others, start=1):
            for name in sorted(first.keys() | own.keys()):
                if first.get(name) != own.get(name):
                    raise InvalidInputError(
                        f"{name}: is {own.get(name)!r} in process {number}, and {first.get(name)!r} in "
                        "process 0; accepted: the same in all processes"
                    )

    shared(compare)


def highest(*values: int) -> list[int]:
    """Returns the highest of each value over all processes."""
    if _team is None:
        return list(values)
    of_each = zip(*_team.gathered(values), strict=True)
    return json.loads(_team.dealt(json.dumps([max(values) for values in of_each]).encode()))


def _outcome(make: Callable[[], T]) -> tuple[Problem | None, T | None]:
    """Calls a function; returns what it raises, if it is of `SHARED`, and what it returns."""
    try:
        return None, make()
    except (InvalidInputError, RunError) as error:
        return (type(error).__name__, str(error)), None


def _raise(problem: Problem | None) -> None:
    """Raises an error that all processes raise at this place, if there is one."""
    if problem is not None:
        assert _team is not None
        _team.closing = True  # each ends by itself
        kind, text = problem
        raise SHARED[kind](text)
