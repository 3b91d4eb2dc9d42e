"""The devices that share the work."""

import contextlib
import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "example"
LEAST_PIXELS = 2**14  # least share of a batch worth a core: below it synchronizing costs more than it saves


def local(num_devices: int, batch_size: int, batch_pixels: int | None = None) -> Mesh:
    """Returns a one-dimensional mesh of this host's devices.

    On a CPU each core counts as a device, unless JAX_NUM_CPU_DEVICES says otherwise or JAX has
    been started before.

    Args:
      num_devices: how many; or 0 for all, of a CPU's cores as many as pay.
      batch_size: is spread evenly, so the mesh has the largest number of devices that divides it.
      batch_pixels: pixels in a batch. Of a CPU's cores, so many pay that each has `LEAST_PIXELS` of
        them, or one; all if it is None or JAX_NUM_CPU_DEVICES is set.

    Returns:
      The mesh; its axis is called `AXIS`.

    Raises:
      ValueError: if there are fewer than `num_devices`.
    """
    asked = max(0, int(os.environ.get("JAX_NUM_CPU_DEVICES", 0)))
    available = asked or cores()
    paying = available if asked or batch_pixels is None else max(1, batch_pixels // LEAST_PIXELS)
    wanted = num_devices or min(available, paying)
    with contextlib.suppress(RuntimeError):  # JAX runs already, with the devices it was started with
        jax.config.update("jax_num_cpu_devices", min(wanted, available))
    devices = jax.local_devices()
    if num_devices > len(devices):
        raise ValueError(f"there are {len(devices)} devices here")
    on_cpu = devices[0].platform == "cpu"
    count = min(wanted, len(devices)) if num_devices or on_cpu else len(devices)
    while batch_size % count:
        count -= 1
    return Mesh(np.array(devices[:count]), (AXIS,))


def cores() -> int:
    """Counts the cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that cuts the first axis of an array into as many pieces as there are devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Returns the sharding with a whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def of_own_memory(mesh: Mesh) -> Mesh:
    """Returns the devices for work that needs a whole copy of the data on each: on a CPU, the first alone.

    The cores of a CPU read from one memory, where copies cost more time than they save.
    """
    on_cpu = mesh.devices[0].platform == "cpu"
    return Mesh(mesh.devices[:1], mesh.axis_names) if on_cpu else mesh
