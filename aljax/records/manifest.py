"""The manifest of a finished run: the SHA-256 of every file that the run wrote, in manifest.json.

It is one line of JSON with a checksum of its own, as in a .jsonl file: {"files": {NAME: SHA-256, ...}}.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from aljax.errors import InvalidInputError
from aljax.records import files, lines, lock

NAME = "manifest.json"

# What a run writes: files, and folders that hold nothing else.
FILES = (
    "config.json",
    "cycles.jsonl",
    "timings.jsonl",
    "pairs.jsonl",
    "diagnostics.jsonl",
    "left_out.csv",
    "images.csv",
    "changes.jsonl",
    "model.npz",
    "summary.csv",
    "summary.json",
    "pairs.csv",
    "report.html",
)
FOLDERS = ("selections", "chosen", "gallery", "figures", "checkpoints", "tensorboard")
PEOPLES = ("labels.jsonl", "asked")  # what people write, also after the run: not listed
SPENT = "checkpoints/"  # a finished run needs none of them: they may be deleted, but not changed


def exists(workdir: Path) -> bool:
    """Tells whether a run directory has a manifest: the run was finished."""
    return os.path.lexists(workdir / NAME)


def write(workdir: Path) -> None:
    """Writes the manifest of a finished run; raises RunError or InvalidInputError where that cannot be."""
    _save(workdir, {name: _digest(workdir / name) for name in _present(workdir)})


def update(workdir: Path, made: Iterable[str]) -> None:
    """Enters files that were made again into the manifest, if there is one; the others stay as listed.

    Raises:
      InvalidInputError: if the manifest or a file cannot be read.
      RunError: if it cannot be written.
    """
    if exists(workdir):
        _save(workdir, {**load(workdir), **{name: _digest(workdir / name) for name in made}})


def withdraw(workdir: Path) -> None:
    """Removes the manifest of a run that goes on, if there is one."""
    (workdir / NAME).unlink(missing_ok=True)


def load(workdir: Path) -> dict[str, str]:
    """Returns the SHA-256 of each listed file; raises InvalidInputError if the manifest is damaged."""
    path = workdir / NAME
    if path.is_symlink():
        raise InvalidInputError(f"{path}: is a link; accepted: the file that aljax wrote")
    try:
        listed = lines.decoded(files.read(path))["files"]
        return {str(name): str(digest) for name, digest in listed.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"{path}: damaged ({error}); accepted: the file that aljax wrote") from error


def problems(workdir: Path) -> Iterator[str]:
    """Yields one line for each file of ours that is missing, changed, or not listed."""
    try:
        listed = load(workdir)
    except InvalidInputError as error:
        yield str(error)
        return
    present = set(_present(workdir))
    for name in sorted(listed.keys() | present):
        path = workdir / name
        try:
            if name not in present:
                if not name.startswith(SPENT):
                    yield f"{path}: missing"
            elif name not in listed:
                yield f"{path}: is not listed in {NAME}"
            elif _digest(path) != listed[name]:
                yield f"{path}: is not what {NAME} lists"
        except InvalidInputError as error:
            yield str(error)


def foreign(workdir: Path) -> list[str]:
    """Returns what lies in a run directory and is not of a run: other files, and what a killed write left."""
    known = {*FILES, *FOLDERS, *PEOPLES, NAME, lock.NAME}
    return sorted(name for name in os.listdir(workdir) if name not in known)


def _present(workdir: Path) -> list[str]:
    of_folders = (path for name in FOLDERS for path in (workdir / name).rglob("*"))
    found = [*(workdir / name for name in FILES), *of_folders]
    return sorted(
        path.relative_to(workdir).as_posix()
        for path in found
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or path.name in FILES)
    )


def _save(workdir: Path, listed: dict[str, str]) -> None:
    files.write(workdir / NAME, files.encoded({"files": dict(sorted(listed.items()))}))


def _digest(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidInputError(f"{path}: is not a regular file; accepted: the file that aljax wrote")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInputError(
            f"{path}: cannot be read ({error.strerror}); accepted: a file that can be read"
        ) from error
