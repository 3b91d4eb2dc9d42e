"""A user's own function, named in the config."""

import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def load(reference: str, parameters: tuple[str, ...]) -> Callable[..., Any]:
    """The function that a reference names; its file is run once in a process.

    Args:
      reference: "module:function" or "path/to/file.py:function".
      parameters: what it will be called with, by position.

    Returns:
      The function.

    Raises:
      ValueError: if there is no such function, or if it does not take the parameters.
    """
    place, _, name = reference.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{place} has no function {name}")
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be called with ({', '.join(parameters)}): {error}") from error
    return function


def source(function: Callable[..., Any]) -> bytes:
    """The content of the file that a function stands in; nothing where there is none to read."""
    try:
        return Path(inspect.getsourcefile(inspect.unwrap(function)) or "").read_bytes()
    except (OSError, TypeError):
        return b""


def complaint(error: BaseException) -> str:
    """What a user's code raised and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + where


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    name = str(path.resolve().with_suffix(""))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} raised {complaint(error)}") from error
    return module


def _from_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {name}") from error
        raise ValueError(f"{name} raised {complaint(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} raised {complaint(error)}") from error
