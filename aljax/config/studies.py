"""Config files: Python with a get_config(), aljax's own in configs/ or a user's."""

import inspect
import os
from pathlib import Path

from ml_collections import ConfigDict

import aljax
from aljax import registry
from aljax.errors import InvalidInputError

PACKAGE = Path(aljax.__file__).parent
FOLDER = next(folder for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if folder.is_dir())


def study(name: str) -> ConfigDict:
    """Returns the config of one of aljax's own studies, by its name in configs/."""
    return load(FOLDER / f"{name}.py")


def names() -> list[str]:
    """Returns the names of aljax's own studies."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def find(given: str) -> Path:
    """Returns the file that --config names; one of aljax's own is found from any folder.

    Raises:
      InvalidInputError: if there is none.
    """
    path = Path(os.path.expanduser(given))
    if path.is_file() and path.suffix == ".py":
        return path
    if path.parent == Path("configs") and path.suffix == ".py" and path.stem in names():
        return FOLDER / path.name
    known = [f"configs/{name}.py" for name in names()]
    close = registry.close(path.stem, names())
    meant = f"did you mean 'configs/{close}.py'?; " if close else ""
    problem = "is a folder" if given and path.is_dir() else "no such file"
    if path.is_file():
        problem = "is no file of Python"
    raise InvalidInputError(
        f"--config={given}: {problem}; {meant}accepted: a Python file with get_config(), such as "
        + ", ".join(known)
    )


def load(path: Path) -> ConfigDict:
    """Runs a config file, and returns its config.

    Raises:
      InvalidInputError: if the file raises, or has no get_config() that returns a ConfigDict.
    """
    try:
        module = registry.run_file(path)
        if not hasattr(module, "get_config"):
            raise InvalidInputError(
                f"--config={path}: has no get_config(); accepted: a Python file with get_config()"
            )
        if inspect.iscoroutinefunction(module.get_config):
            raise TypeError("get_config() is async, and would be called without being awaited")
        config = module.get_config()
        if not isinstance(config, ConfigDict):
            raise TypeError(f"get_config() returns a {type(config).__name__}, not a ConfigDict")
    except InvalidInputError:
        raise
    except BaseException as error:  # whatever a file of Python may raise
        raise InvalidInputError(
            f"--config={path}: {registry.complaint(error)}; accepted: a Python file with get_config()"
        ) from error
    return config
