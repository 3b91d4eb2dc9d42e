"""Training saved on the way, so that a cycle goes on where it was interrupted.

A checkpoint is one vector, written by orbax into a folder whose name tells how far training
had come and ends in the vector's SHA-256, so that a damaged one is told from its name.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.flatten_util import ravel_pytree

from aljax.errors import RunFailed
from aljax.train import EpochMetrics, TrainState

NAME = re.compile(r"cycle-(\d+)-epoch-(\d+)-([0-9a-f]{16})")


class Progress(NamedTuple):
    """How far the training of one cycle has come."""

    epoch: int  # epochs trained
    state: TrainState
    metrics: EpochMetrics  # of the last of them


def save(folder: Path, cycle: int, progress: Progress) -> None:
    """Writes a checkpoint into `folder`, and then removes the older ones there.

    Raises:
      RunFailed: if it could not be written; the older ones stay.
    """
    vector = np.asarray(ravel_pytree(jax.device_get((progress.state, progress.metrics)))[0])
    name = f"cycle-{cycle:02d}-epoch-{progress.epoch:04d}-{_digest(vector)}"
    path = folder.absolute() / name
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, {"vector": vector}, force=True)
    except Exception as error:  # orbax wraps the system's errors in its own, of several kinds
        raise RunFailed(f"{path}: could not be written ({_first_line(error)})") from error
    for other in folder.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def latest(folder: Path, cycle: int, like: Progress) -> Progress | None:
    """The newest intact checkpoint of `cycle` in `folder`, with shapes as in `like`, or None."""
    template, unravel = ravel_pytree((like.state, like.metrics))
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("cycle-*")]
    named = [(int(match[2]), match[3], path) for match, path in found if match and int(match[1]) == cycle]
    for epoch, digest, path in sorted(named, reverse=True):
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                blank = {"vector": np.empty(template.shape, template.dtype)}
                vector = checkpointer.restore(path.absolute(), blank)["vector"]
            if _digest(vector) == digest:
                return Progress(epoch, *unravel(vector))
            reason = "its checksum differs"
        except Exception as error:  # a damaged file makes orbax raise almost anything
            reason = _first_line(error)
        logging.warning("%s: damaged, and not used (%s)", path, reason)
    return None


def _digest(vector: np.ndarray) -> str:
    return hashlib.sha256(vector.tobytes()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
