"""Names and the functions behind them: of aljax's own tables, or of a user's file.

A table is a dict from names to whatever they stand for: strategies, networks, optimizers, sources of
data. A user's own function is named "path/to/file.py:function" or "module:function".
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from aljax.errors import InvalidInputError

Entry = TypeVar("Entry")
HERE = Path(__file__).parent  # aljax itself
INSTALLED = {"site-packages", "dist-packages"}  # folders of installed packages
PYTHON = Path(sysconfig.get_path("stdlib"))


def find(
    name: str, table: Mapping[str, Entry], field: str, parameters: tuple[str, ...] = (), others: str = ""
) -> Entry:
    """Returns what a name stands for.

    Args:
      name: a key of the table, or, where it has `parameters`, a user's own function.
      table: what there is, by name.
      field: the field that holds the name, for the error.
      parameters: what a user's own function is called with, by position; () where none is accepted.
      others: what else the field accepts, for the error.

    Raises:
      InvalidInputError: if there is no such name or function, or it does not take the parameters.
    """
    if name in table:
        return table[name]
    accepted = f"{others}one of {', '.join(table)}"
    if parameters:
        accepted += (
            f', or your own as "path/to/file.py:function" or "module:function", '
            f"a function of ({', '.join(parameters)})"
        )
    if not parameters or not all(name.rpartition(":")):
        raise InvalidInputError(f"{field}={name!r}: {meant(name, table, parameters)}accepted: {accepted}")
    try:
        return load(name, parameters)  # type: ignore[return-value]
    except ValueError as error:
        raise InvalidInputError(f"{field}={name!r}: {error}; accepted: {accepted}") from error


def meant(name: str, known: Iterable[str], parameters: tuple[str, ...] = ()) -> str:
    """Returns "did you mean ...?; " for a name that is not known, or ""."""
    if parameters and name.endswith(".py") and (path := Path(os.path.expanduser(name))).is_file():
        functions = _functions_of(path)
        return f"did you mean {f'{name}:{functions[0]}'!r}?; " if functions else ""
    found = close(name, known)
    return f"did you mean {found!r}?; " if found else ""


def close(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is nearest to another; "" if none is near."""
    return next(iter(difflib.get_close_matches(name.lower(), list(known), n=1)), "")


@functools.cache
def load(reference: str, parameters: tuple[str, ...]) -> Callable[..., Any]:
    """Loads the function that a reference names; its file is run once in a process.

    Args:
      reference: "path/to/file.py:function" or "module:function".
      parameters: what it will be called with, by position.

    Raises:
      ValueError: if there is no such function, or if it does not take the parameters.
    """
    place, _, name = reference.rpartition(":")
    module = _from_file(Path(os.path.expanduser(place))) if place.endswith(".py") else _from_name(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{place} has no function {name}")
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} is async, and would be called without being awaited")
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be called with ({', '.join(parameters)}): {error}") from error
    return function


def source(function: Callable[..., Any]) -> bytes:
    """Returns the content of the file that a function stands in, and of all that it imports from its folder.

    Modules import each other: those of the same folder are followed to their end. Installed packages and
    aljax itself are no part of it. Where there is no file to read, the content is b"".
    """
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").resolve()
        contents = {path: path.read_bytes()}
    except (OSError, TypeError):
        return b""
    found = [path]
    for one in found:  # which grows
        for helper in sorted(_imported(contents[one], one.parent, path.parent)):
            if helper not in contents:
                contents[helper] = helper.read_bytes()
                found.append(helper)
    return b"".join(contents.values())


def _imported(content: bytes, place: Path, folder: Path) -> set[Path]:
    """Returns the files in a folder of the modules that a file at `place` imports.

    Names are looked up in the folder, as those of a script, and from the top of the package that it is of.
    """
    if INSTALLED & set(folder.parts):
        return set()
    try:
        statements = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):  # of a helper that is not imported yet
        return set()
    top = next(above for above in (folder, *folder.parents) if not (above / "__init__.py").is_file())
    found = set()
    for one in statements:
        tops = {folder, top}
        if isinstance(one, ast.ImportFrom):
            names = [f"{one.module}.{alias.name}" if one.module else alias.name for alias in one.names]
            tops = {place.joinpath(*[".."] * (one.level - 1))} if one.level else tops
        else:
            names = [alias.name for alias in one.names] if isinstance(one, ast.Import) else []
        for name, module in itertools.product(names, tops):
            for part in name.split("."):
                module /= part
                found |= {module.with_suffix(".py").resolve(), (module / "__init__.py").resolve()}
    inside = {file for file in found if folder in file.parents and Path(__file__).parent not in file.parents}
    return {file for file in inside if file.is_file()}


def complaint(error: BaseException) -> str:
    """Describes in one line what a user's code raised, and where in that code."""
    frames = traceback.extract_tb(error.__traceback__)
    beyond = [frame for frame in frames if not Path(frame.filename).is_relative_to(HERE)]
    own = [frame for frame in beyond if not _of_a_library(frame.filename)]
    where = [f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in own or beyond]
    return " ".join(f"{type(error).__name__}: {error}".split()) + "".join(where[-1:])


def _of_a_library(name: str) -> bool:
    """Tells whether a file is Python's own or of an installed package."""
    path = Path(name)
    return name[:1] == "<" or bool(INSTALLED & set(path.parts)) or path.is_relative_to(PYTHON)


def run_file(path: Path) -> ModuleType:
    """Runs a Python file as a module of its own; it may import modules that lie beside it.

    Raises:
      Exception: whatever the file raises.
    """
    name = str(path.resolve().with_suffix(""))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        return run_file(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{path} raised {complaint(error)}") from error


def _from_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"there is no module {name}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {name}") from error
        raise ValueError(f"{name} raised {complaint(error)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{name} raised {complaint(error)}") from error


def _functions_of(path: Path) -> list[str]:
    try:
        statements = ast.parse(path.read_bytes()).body
    except (OSError, ValueError, SyntaxError):
        return []
    return [one.name for one in statements if isinstance(one, ast.FunctionDef) and one.name[0] != "_"]


def raised_in_own_file(error: BaseException) -> bool:
    """Tells whether an error came out of a file that `run_file` ran, or out of what that called."""
    own = {
        getattr(module, "__file__", None)
        for name, module in list(sys.modules.items())
        if Path(name).is_absolute()
    }
    return any(frame.filename in own for frame in traceback.extract_tb(error.__traceback__))
