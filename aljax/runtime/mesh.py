"""The devices that share the work."""

import contextlib
import os
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "example"
LEAST_PIXELS = 2**14  # least share of a batch worth a core: below it synchronizing costs more than it saves


def local(num_devices: int, batch_size: int, batch_pixels: int | None = None) -> Mesh:
    """Returns a one-dimensional mesh of this host's devices; of several processes, as many of each.

    On a CPU each core counts as a device, unless JAX_NUM_CPU_DEVICES or XLA_FLAGS say otherwise or JAX has
    been started before.

    Args:
      num_devices: how many, of all processes; or 0 for all, of a CPU's cores as many as pay.
      batch_size: is spread evenly, so the mesh has the largest number of devices that divides it.
      batch_pixels: pixels in a batch. Of a CPU's cores, so many pay that each has `LEAST_PIXELS` of
        them, or one; all if it is None or the number of cores is set.

    Returns:
      The mesh; its axis is called `AXIS`.

    Raises:
      ValueError: if there are fewer than `num_devices`, or they are not as many of each process.
    """
    available, paying = _asked() or cores(), _paying(batch_pixels)
    wanted = num_devices or on_cpu(batch_pixels)
    with contextlib.suppress(RuntimeError):  # JAX runs already, with the devices it was started with
        jax.config.update("jax_num_cpu_devices", min(wanted, available))
    devices = _by_process(jax.devices())
    sharing, least = len(devices), min(map(len, devices))
    if num_devices > sharing * least:
        raise ValueError(f"there are {sharing * least} devices here")
    if num_devices % sharing:
        raise ValueError(f"{sharing} processes have as many each")
    count = num_devices // sharing or least
    if not num_devices and devices[0][0].platform == "cpu":
        count = min(least, max(1, paying // sharing) if paying else available)
    while batch_size % (count * sharing):
        count -= 1
        if not count:
            raise ValueError(f"{sharing} processes do not share a batch of {batch_size} evenly")
    return Mesh(np.array([device for own in devices for device in own[:count]]), (AXIS,))


def on_cpu(batch_pixels: int | None = None) -> int:
    """Counts the devices that `local` takes of a CPU where none are asked for; does not start JAX."""
    available = _asked() or cores()
    return min(available, _paying(batch_pixels) or available)


def _paying(batch_pixels: int | None) -> int | None:
    """Counts the cores that pay for batches of so many pixels, over all processes; None where all do."""
    return None if _asked() or batch_pixels is None else max(1, batch_pixels // LEAST_PIXELS)


def _asked() -> int:
    """Returns how many devices of the CPU the environment asks for, or 0."""
    forced = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return max(0, int(os.environ.get("JAX_NUM_CPU_DEVICES", 0)) or int(forced[1] if forced else 0))


def _by_process(devices: Iterable[jax.Device]) -> list[list[jax.Device]]:
    """Returns the devices of each process, in the order of both."""
    found: dict[int, list[jax.Device]] = {}
    for device in devices:
        found.setdefault(device.process_index, []).append(device)
    return [found[number] for number in sorted(found)]


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
    """Returns the devices for work that needs all data on each of them: on a CPU, one of each process.

    The cores of a CPU read from one memory, where copies cost more time than they save.
    """
    if mesh.devices[0].platform != "cpu":
        return mesh
    return Mesh(np.array([own[0] for own in _by_process(mesh.devices)]), mesh.axis_names)


def put(arrays: Any, sharding: NamedSharding) -> Any:
    """Puts arrays, the same in all processes, on devices of all; keys of random numbers among them."""

    def one(array: Any) -> jax.Array:
        if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(array)), impl=jax.random.key_impl(array))
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            return jax.device_put(array, sharding)
        values = np.asarray(array)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.device_put(arrays, sharding) if sharding.is_fully_addressable else jax.tree.map(one, arrays)


def here(arrays: Any) -> Any:
    """Returns arrays on devices of this process alone, whole, whatever devices of others hold parts of them.

    To be called in all processes. Without others, arrays stay where they are.
    """

    def one(array: Any) -> Any:
        if not isinstance(array, jax.Array) or array.is_fully_addressable:
            return array
        spread_over: Any = array.sharding
        return _whole(array, sharding=everywhere(spread_over.mesh)).addressable_data(0)

    return jax.tree.map(one, arrays)


@partial(jax.jit, static_argnames="sharding")
def _whole(array: jax.Array, *, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(array, sharding)
