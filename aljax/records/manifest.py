"""The manifest of a run: the SHA-256 of the files that it wrote, in manifest.json.

It is one line of JSON with a checksum of its own, as in a .jsonl file:
{"finished": BOOL, "files": {NAME: SHA-256, ...}}. While a run goes on it lists the config and what each cycle
wrote, as soon as that is written; of a finished run it lists every file.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from aljax.errors import InvalidInputError, RunError
from aljax.records import files, lines, lock, places

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
    "embeddings.npz",
    "summary.csv",
    "summary.json",
    "pairs.csv",
    "report.html",
)
FOLDERS = ("selections", "chosen", "gallery", "figures", "checkpoints", "tensorboard")
# Not listed, as they change, or as others write them.
AFTERWARDS = ("labels.jsonl", "asked", "simulation", "embeddings.npz.parts", "wandb", "mlruns")
IMAGES, MODEL = "images.csv", "model.npz"  # where people label: written again at a start, and in a cycle
LASTING = ("config.json", "left_out.csv", "embeddings.npz")  # are written before the first cycle
OF_CYCLES = ("selections/", "chosen/", "gallery/")  # are written in each cycle, and can be made again
OTHER = f"is not what {NAME} lists"
SPENT = "checkpoints/"  # a finished run needs none of them: they may be deleted, but not changed


class Manifest(NamedTuple):
    """What manifest.json holds."""

    finished: bool
    files: dict[str, str]  # the SHA-256 of each file, by its name in the run directory


def exists(workdir: Path) -> bool:
    """Tells whether a run directory has a manifest."""
    return os.path.lexists(workdir / NAME)


def finished(workdir: Path) -> bool:
    """Tells whether a run directory has the manifest of a finished run; raises as `load`."""
    return exists(workdir) and load(workdir).finished


def write(workdir: Path, whole: bool = True) -> None:
    """Writes the manifest of a run, a finished one if it is `whole`, from the files that are there.

    Raises:
      InvalidInputError: if a file cannot be read.
      RunError: if it cannot be written.
    """
    with lock.alone(workdir):
        names = [name for name in _present(workdir) if whole or lasts(name)]
        _save(workdir, Manifest(whole, {name: _digest(workdir / name) for name in names}))


def begin(workdir: Path) -> None:
    """Makes a manifest that of a run that goes on: without the files which are written anew at its end.

    Raises:
      InvalidInputError: if it is damaged.
      RunError: if it cannot be written.
    """
    with lock.alone(workdir):
        before = load(workdir) if exists(workdir) else None
        kept = {name: of for name, of in before.files.items() if lasts(name)} if before else {}
        if before != (now := Manifest(False, kept)):
            _save(workdir, now)


def enter(workdir: Path, names: Iterable[str]) -> None:
    """Lists files that were written, if there is a manifest; the others stay as listed.

    Raises:
      InvalidInputError: if the manifest or a file cannot be read, or a file is listed with other content.
      RunError: if the manifest cannot be written.
    """
    if not exists(workdir):
        return
    new = {name: _digest(workdir / name) for name in names}
    listed = load(workdir).files
    if other := [name for name, digest in new.items() if listed.get(name, digest) != digest]:
        raise InvalidInputError(f"{workdir / other[0]}: {OTHER}; accepted: the file of this run")
    _change(workdir, new)


def leave(workdir: Path, names: Iterable[str]) -> None:
    """Lists files no longer, which are written again; raises as `enter`."""
    if exists(workdir):
        _change(workdir, dict.fromkeys(names))


def replace(workdir: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that may be there already; meanwhile the manifest does not list them.

    A manifest that is missing or damaged stays so.

    Raises:
      RunError: if a file cannot be written.
    """
    try:
        listing = exists(workdir) and bool(load(workdir))
    except InvalidInputError:
        listing = False
    if listing:
        leave(workdir, contents)
    for name, content in contents.items():
        files.write(workdir / name, content)
    if listing:
        _change(workdir, {name: _digest(workdir / name) for name in contents})


def put(workdir: Path, path: Path, content: bytes) -> None:
    """Writes a file of a run directory that is new, or was missing or damaged.

    Raises:
      InvalidInputError: if the manifest cannot be read.
      RunError: if the content is not what is listed (nothing is written then), or cannot be written.
    """
    name = path.relative_to(workdir).as_posix()
    text = files.read(workdir / NAME) if exists(workdir) else b""
    # Of thousands of files, whose list it takes long to parse, hardly any is written twice.
    listed = load(workdir).files if json.dumps(name).encode() in text else {}
    if listed.get(name, digest := hashlib.sha256(content).hexdigest()) != digest:
        raise RunError(
            f"{path}: missing or damaged, and made again it is not what {NAME} lists; it was not written"
        )
    files.write(path, content)


def check(workdir: Path, name: str) -> None:
    """Raises InvalidInputError if a file is listed and missing, or not as it is listed, or a link."""
    listed = load(workdir).files.get(name) if exists(workdir) else None
    path = workdir / name
    there = os.path.lexists(path)
    if listed is None or (there and _digest(path) == listed):
        return
    if load(workdir).files.get(name) == listed:  # else a run at work has written it again
        problem = OTHER if there else "missing"
        raise InvalidInputError(
            f"{path}: {problem}; accepted: the file that aljax wrote (the command of the run makes it again)"
        )


def withdraw(workdir: Path) -> None:
    """Removes the manifest of a run in which nothing was done, if there is one."""
    (workdir / NAME).unlink(missing_ok=True)


def load(workdir: Path) -> Manifest:
    """Loads the manifest; raises InvalidInputError if it is damaged."""
    path = workdir / NAME
    if path.is_symlink():
        raise InvalidInputError(f"{path}: is a link; accepted: the file that aljax wrote")
    try:
        stored = lines.decoded(files.read(path))
        listed = {str(name): str(digest) for name, digest in stored["files"].items()}
        return Manifest(bool(stored["finished"]), listed)
    except (ValueError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"{path}: damaged ({error}); accepted: the file that aljax wrote") from error


def problems(workdir: Path) -> Iterator[str]:
    """Yields one line for each file of ours that is missing or changed, or in a finished run not listed."""
    try:
        yield from (f"{workdir / name}: {problem}" for name, problem in wrong(workdir).items())
    except InvalidInputError as error:
        yield str(error)


def wrong(workdir: Path) -> dict[str, str]:
    """Returns what is wrong with the files that are listed or should be, by name; raises as `load`."""
    listed = load(workdir)
    present = set(_present(workdir))
    found = {}
    for name in sorted(listed.files.keys() | (present if listed.finished else set())):
        path = workdir / name
        if name not in present:
            if not name.startswith(SPENT):
                found[name] = "missing"
        elif name not in listed.files:
            found[name] = f"is not listed in {NAME}"
        else:
            try:
                if _digest(path) == listed.files[name]:
                    continue
                if _digest(path) != load(workdir).files.get(name):  # a run at work may have written it again
                    found[name] = OTHER
            except InvalidInputError as error:
                found[name] = str(error).removeprefix(f"{path}: ")
    return found


def lasting(workdir: Path) -> list[str]:
    """Returns the names of the files that a run has written before its first cycle."""
    return [name for name in (*LASTING, IMAGES) if (workdir / name).exists()]


def lasts(name: str) -> bool:
    """Tells whether a file is listed while its run goes on."""
    return name in (*LASTING, IMAGES, MODEL) or name.startswith(OF_CYCLES)


def remade(name: str, problem: str) -> bool:
    """Tells whether a run makes a file again that is missing or damaged."""
    return name.startswith((*OF_CYCLES, "left_out.csv", "embeddings.npz")) and not problem.startswith(
        "is not listed"
    )


def of_place(workdir: Path, trial: int, cycle: int) -> list[str]:
    """Returns the names of the files that a run wrote in one cycle."""
    found = []
    for folder in OF_CYCLES:
        path = places.file_of(workdir / folder, trial, cycle, "")
        found += [*path.parent.glob(f"{path.name}.*"), *path.glob("[!.]*")]
    return sorted(path.relative_to(workdir).as_posix() for path in found if not path.is_dir())


def foreign(workdir: Path) -> list[str]:
    """Returns what lies in a run directory and is not of a run.

    A file that is being written, or that a killed write left, is a run's: its next start removes it.
    """
    known = {*FILES, *FOLDERS, *AFTERWARDS, NAME, lock.NAME}
    return sorted(
        name for name in os.listdir(workdir) if name not in known and not name.startswith(files.PARTIAL)
    )


def _present(workdir: Path) -> list[str]:
    of_folders = (path for name in FOLDERS for path in (workdir / name).rglob("*"))
    found = [*(workdir / name for name in FILES), *of_folders]
    return sorted(
        path.relative_to(workdir).as_posix()
        for path in found
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or path.name in FILES)
    )


def _change(workdir: Path, changes: Mapping[str, str | None]) -> None:
    """Changes what the manifest lists; None removes a name."""
    with lock.alone(workdir):
        before = load(workdir)
        now = {name: digest for name, digest in (before.files | dict(changes)).items() if digest is not None}
        if now != before.files:
            _save(workdir, before._replace(files=now))


def _save(workdir: Path, manifest: Manifest) -> None:
    listed = dict(sorted(manifest.files.items()))
    content = files.encoded({"finished": manifest.finished, "files": listed})
    files.write(workdir / NAME, content, now=True)  # without which the run cannot go on


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
