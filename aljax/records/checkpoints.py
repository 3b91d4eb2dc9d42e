"""Checkpoints inside a cycle, from which interrupted training goes on.

A checkpoint is one vector, written by orbax into a folder. The folder's name holds the cycle, the
attempt and the epoch, and ends in the vector's SHA-256, by which damage is recognized.
"""

import contextlib
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from aljax.errors import RunError, first_line

NAME = re.compile(r"cycle-(\d+)-attempt-(\d+)-epoch-(\d+)-([0-9a-f]{16})")


class Progress(NamedTuple):
    """The training of one cycle, after some of its epochs."""

    attempt: int  # from 0; each has other weights to begin with
    epoch: int  # epochs trained
    state: Any  # arrays: a train state
    metrics: Any  # of the last epoch, scalars


class Damaged(Exception):
    """Reports a checkpoint whose content is not what was written."""


def save(folder: Path, cycle: int, progress: Progress) -> None:
    """Writes a checkpoint into `folder`, and then removes the older ones there.

    Raises:
      RunError: if it could not be written; the older ones stay.
    """
    import jax
    import orbax.checkpoint as ocp
    from jax.flatten_util import ravel_pytree

    vector = np.asarray(ravel_pytree(jax.device_get((progress.state, progress.metrics)))[0])
    name = f"cycle-{cycle:02d}-attempt-{progress.attempt}-epoch-{progress.epoch:04d}-{_digest(vector)}"
    path = folder.absolute() / name
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(path, {"vector": vector}, force=True)
    except Exception as error:  # orbax wraps the system's errors in its own, of several kinds
        reason = re.search(r": ([^:]+) \[os_error_code", str(error))
        raise RunError(
            f"{path}: could not be written ({reason[1] if reason else first_line(error)})"
        ) from error
    _remove_all_but(path)


def latest(folder: Path, cycle: int, like: Progress) -> Progress | None:
    """Loads the newest intact checkpoint of `cycle` in `folder`, with shapes as in `like`; else None."""
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    template, unravel = ravel_pytree((like.state, like.metrics))
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("cycle-*")]
    named = [
        (int(match[2]), int(match[3]), path) for match, path in found if match and int(match[1]) == cycle
    ]
    for attempt, epoch, path in sorted(named, reverse=True):
        try:
            vector = read(path)
            if vector.shape != template.shape:
                raise Damaged(f"it holds {vector.size} numbers, not {template.size}")
            _remove_all_but(path)  # the remains of a killed process
            return Progress(attempt, epoch, *unravel(jnp.asarray(vector)))
        except Damaged as error:
            logging.warning("%s: damaged, and not used (%s)", path, error)
    return None


def read(path: Path) -> np.ndarray:
    """Loads the vector of one checkpoint.

    Raises:
      Damaged: if it cannot be read, or its checksum is not the one in its name.
    """
    import orbax.checkpoint as ocp

    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            vector = np.asarray(checkpointer.restore(path.absolute())["vector"])
    except Exception as error:  # a damaged file makes orbax raise almost anything
        raise Damaged(first_line(error)) from error
    match = NAME.fullmatch(path.name)
    if match is None or _digest(vector) != match[4]:
        raise Damaged("its checksum differs")
    return vector


def _remove_all_but(kept: Path) -> None:
    for other in kept.parent.iterdir():
        if other.name == kept.name:
            continue
        with contextlib.suppress(OSError):
            shutil.rmtree(other.rename(other.with_name(f"removed-{other.name}")))


def _digest(vector: np.ndarray) -> str:
    return hashlib.sha256(vector.tobytes()).hexdigest()[:16]
