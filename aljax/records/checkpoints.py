"""Checkpoints inside a cycle, from which interrupted training goes on.

A checkpoint is one vector and the training that it belongs to, written by orbax into a folder. The folder's
name holds the cycle, the attempt and the epoch, and ends in a SHA-256 of these and of every file in it, by
which damage is recognized. One of another training, or a copy from another run, is not used.
"""

import contextlib
import hashlib
import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from aljax.errors import RunError, first_line
from aljax.records.lines import digest

NAME = re.compile(r"cycle-(\d+)-attempt-(\d+)-epoch-(\d+)-([0-9a-f]{16})")
WRITING = "writing"  # in place of the SHA-256 until the files are there
# Also what a killed process left.
OURS = re.compile(
    rf"(removed-)?(cycle-\d+-attempt-\d+-epoch-\d+-([0-9a-f]{{16}}|{WRITING}))(\.orbax-checkpoint-tmp.*)?"
)


class Training(NamedTuple):
    """The training that a checkpoint belongs to."""

    run: str  # digest of the config and the data, as `directory.identity` returns it
    part: str  # the folder of its checkpoints: "trial-00", or "trial-00-fold-1" beside the main training
    cycle: int
    labeled: str  # digest of the images that it trains on


class Progress(NamedTuple):
    """The training of one cycle, after some of its epochs."""

    attempt: int  # from 0; each has other weights to begin with
    epoch: int  # epochs trained
    state: Any  # arrays: a train state
    metrics: Any  # of the last epoch, scalars


class Damaged(Exception):
    """Reports a checkpoint whose content is not what was written."""


def training(run: str, folder: Path, cycle: int, labeled: np.ndarray) -> Training:
    """Returns the training of a cycle on the images `labeled` [n], with its checkpoints in `folder`."""
    return Training(run, folder.name, cycle, digest(np.asarray(labeled, np.int64).tobytes()))


def save(folder: Path, owner: Training, progress: Progress) -> None:
    """Writes a checkpoint into `folder`, and then removes the older ones there.

    Raises:
      RunError: if it could not be written; the older ones stay.
    """
    vector = _vector(progress)
    text = json.dumps(owner).encode()
    stem = f"cycle-{owner.cycle:02d}-attempt-{progress.attempt}-epoch-{progress.epoch:04d}"
    path = folder.absolute() / f"{stem}-{WRITING}"
    content = {"vector": vector, "training": np.frombuffer(text, np.uint8)}
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(path, content, force=True)
        named = path.with_name(f"{stem}-{_checksum(stem, path)}")
        shutil.rmtree(named, ignore_errors=True)  # the same, from an earlier start
        path.rename(named)
    except Exception as error:  # orbax wraps the system's errors in its own, of several kinds
        reason = re.search(r": ([^:]+) \[os_error_code", str(error))
        raise RunError(
            f"{path}: could not be written ({reason[1] if reason else first_line(error)})"
        ) from error
    _remove_all_but(named)


def latest(folder: Path, owner: Training, like: Progress) -> Progress | None:
    """Loads the newest checkpoint of a training in `folder`, with shapes as in `like`; else None.

    One that is damaged, or of another training, is logged.
    """
    named = [
        (int(match[2]), int(match[3]), path)
        for path in folder.glob("cycle-*")
        if (match := NAME.fullmatch(path.name)) and int(match[1]) == owner.cycle
    ]
    if not named:
        return None
    size = sum(leaf.size for leaf in _leaves(like))
    for attempt, epoch, path in sorted(named, reverse=True):
        try:
            found, vector = read(path)
            if different := [
                name for name in Training._fields if getattr(found, name) != getattr(owner, name)
            ]:
                logging.warning("%s: of another training, and not used (%s differs)", path, different[0])
                continue
            if vector.shape != (size,):
                raise Damaged(f"it holds {vector.size} numbers, not {size}")
            _remove_all_but(path)  # the remains of a killed process
            return Progress(attempt, epoch, *_unraveled(vector, like))
        except Damaged as error:
            logging.warning("%s: damaged, and not used (%s)", path, error)
    return None


def read(path: Path) -> tuple[Training, np.ndarray]:
    """Loads the training that one checkpoint belongs to, and its vector.

    Raises:
      Damaged: if it cannot be read, or its checksum is not the one in its name.
    """
    stem, _, checksum = path.name.rpartition("-")
    try:
        if _checksum(stem, path) != checksum:
            raise Damaged("its checksum differs")
        with _checkpointer() as checkpointer:
            content = checkpointer.restore(path.absolute())
        vector, text = np.asarray(content["vector"]), np.asarray(content["training"]).tobytes()
        owner = Training(*json.loads(text))
    except Damaged:
        raise
    except Exception as error:  # orbax raises almost anything
        raise Damaged(first_line(error)) from error
    return owner, vector


def _leaves(progress: Progress) -> list[Any]:
    """Returns the arrays of the state, then of the metrics."""
    import jax

    return jax.tree.leaves((progress.state, progress.metrics))


def _vector(progress: Progress) -> np.ndarray:
    """Returns the numbers of all arrays in a row, in the type that holds them all."""
    import jax

    leaves = jax.device_get(_leaves(progress))
    dtype = jax.dtypes.result_type(*(leaf.dtype for leaf in leaves))
    return np.concatenate([np.ravel(leaf).astype(dtype) for leaf in leaves])


def _unraveled(vector: np.ndarray, like: Progress) -> tuple[Any, Any]:
    """Returns a state and metrics of the numbers in a vector, with shapes and types as in `like`."""
    import jax

    leaves = _leaves(like)
    parts = np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
    arrays = [part.astype(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure((like.state, like.metrics)), arrays)


def _checkpointer() -> Any:
    """Returns orbax's writer and reader of trees, which does not wait for other processes of the run."""
    import jax
    import orbax.checkpoint as ocp

    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix="aljax"
    )
    return ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
    )


def _remove_all_but(kept: Path) -> None:
    """Removes the other checkpoints beside one, complete or not; nothing else, and follows no link."""
    for other in kept.parent.iterdir():
        if other.name == kept.name or other.is_symlink() or not OURS.fullmatch(other.name):
            continue
        with contextlib.suppress(OSError):
            removed = other.with_name(f"removed-{other.name.removeprefix('removed-')}")
            shutil.rmtree(other.rename(removed))


def _checksum(stem: str, path: Path) -> str:
    """Returns the digest of the name of a checkpoint, and of every file in it.

    Raises:
      Damaged: if it, or a part of it, is neither a file nor a folder.
      OSError: if a file cannot be read.
    """
    total = hashlib.sha256(stem.encode())
    for part in [path, *sorted(path.rglob("*"))]:
        kind = part.lstat().st_mode
        if stat.S_ISREG(kind):
            content = part.read_bytes()
            total.update(f"\n{part.relative_to(path).as_posix()} {len(content)}\n".encode() + content)
        elif not stat.S_ISDIR(kind):
            raise Damaged(f"{'it' if part == path else part.relative_to(path)} is a link, or no file")
    return total.hexdigest()[:16]
