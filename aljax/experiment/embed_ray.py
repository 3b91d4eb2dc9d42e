"""Embeds images on the machines of a Ray cluster, or in several processes of this one.

Ray Data sends the files' names to workers, each of which holds the network, and brings the embeddings back; a
worker that is lost is replaced, and what it had not returned is computed again. Parts are kept where they
arrive, so that a command that was killed goes on. An image's values do not depend on who computes them, see
`embed`. The images and a user's own model must lie under the same paths on every machine.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aljax.data import images
from aljax.data.sources.base import Request
from aljax.errors import InvalidInputError, RunError, first_line
from aljax.experiment import embed
from aljax.models import encoders
from aljax.records.embeddings import Known
from aljax.runtime import mesh

INSTALL = "pip install 'aljax[ray]' (in a checkout: pip install -e '.[ray]')"


class Worker:
    """Decodes and embeds, on one core or one accelerator."""

    def __init__(self, model: str, pixels: int, request: Request):
        devices = mesh.local(1, embed.EACH)
        self._request = request
        self._compute = embed.computing(encoders.find(model, pixels), devices)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Maps digests and paths [n] to digests, features [n, D] and reasons [n], "" where there is none."""
        pixels, reasons = images.read_some(batch["path"].tolist(), self._request)
        words = np.array([reasons.get(row, "") for row in range(len(pixels))])
        return {"digest": batch["digest"], "features": self._compute(pixels), "reason": words}


def engine(model: str, pixels: int, workers: int = 0) -> embed.Engine:
    """Returns the engine that embeds with Ray: on the cluster that RAY_ADDRESS names, else on this machine.

    Args:
      model: as for `encoders.find`.
      pixels: of the images that it takes.
      workers: how many; 0 for the GPUs that Ray has, or else its CPUs.

    Raises:
      InvalidInputError: if Ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise InvalidInputError(
            f"--engine='ray': needs a package that is not installed ({error}); accepted: local, or "
            f"after {INSTALL}"
        ) from error
    file, colon, function = model.rpartition(":")
    if colon and file.endswith(".py"):  # workers work in another folder
        model = f"{Path(os.path.expanduser(file)).absolute()}:{function}"

    def compute(
        todo: dict[str, str], request: Request, keep: Callable[[Known], object]
    ) -> tuple[Known, dict[str, str]]:
        known: Known = {}
        unreadable: dict[str, str] = {}
        if not todo:
            return known, unreadable
        _connect(ray)
        rows = [{"digest": digest, "path": os.path.abspath(path)} for digest, path in todo.items()]
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        size = max(1, min(workers or gpus or int(there.get("CPU", 1)), -(-len(rows) // embed.PART)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        found = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // embed.PART)).map_batches(
            Worker,
            fn_constructor_args=(model, pixels, request),
            batch_size=embed.PART,
            num_cpus=1,
            num_gpus=1 / -(-size // gpus) if gpus else 0,  # Ray hides them from a worker that asks for none
            compute=ray.data.ActorPoolStrategy(size=size),
        )
        try:
            with images.bar("embedding") as advance:
                for batch in found.iter_batches(batch_size=None, prefetch_batches=0):
                    part = {
                        str(digest): np.array(values, np.float32)
                        for digest, values, reason in zip(*(batch[name] for name in _COLUMNS), strict=True)
                        if not reason
                    }
                    if part:
                        embed.finite(np.stack(list(part.values())), model)
                        keep(part)
                    known |= part
                    broken = zip(batch["digest"], batch["reason"], strict=True)
                    unreadable |= {str(digest): str(reason) for digest, reason in broken if reason}
                    advance(len(batch["digest"]), len(todo))
        except ray.exceptions.RayError as error:
            raise RunError(f"--engine=ray: {first_line(error)}") from error
        return known, unreadable

    return compute


_COLUMNS = ("digest", "features", "reason")


def _connect(ray: Any) -> None:
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:  # on the loopback address alone
        ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
