"""Tensors of a PyTorch file (torch.save of a state_dict), read without PyTorch and without running it.

A PyTorch file is made of pickles, and a pickle is a program. Here it may name four things alone, an
ordered dictionary, two types of numbers and the function that puts a tensor together, each of which is
replaced by a harmless one of this module; whatever else it asks for is refused.

The format is that of torch.save before version 1.6: the pickles of a magic number, the protocol, the
sizes of types, the object and the storages' keys, then each storage's length and content in that order.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.errors import InvalidInputError, first_line

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"torch.FloatStorage": "<f4", "torch.LongStorage": "<i8"}
ACCEPTED = "a state_dict of tensors, saved by torch.save in the format of before version 1.6"


class _Storage(NamedTuple):
    """Numbers that tensors lie in; their content comes after all pickles."""

    key: str
    dtype: str  # of `DTYPES`
    length: int


class _Tensor(NamedTuple):
    """Where in a storage a tensor lies."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers


def read(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Reads the tensors of a PyTorch file by name; returns them, and the file's content.

    Raises:
      InvalidInputError: if the file cannot be read, or is not such a file, or asks for anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); accepted: {ACCEPTED}") from error
    try:
        return tensors(content), content
    except Exception as error:  # of a damaged pickle, almost any kind
        raise InvalidInputError(f"{path}: {first_line(error)}; accepted: {ACCEPTED}") from error


def tensors(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a PyTorch file's content, by name.

    Raises:
      Exception: of almost any kind, if it is not such a file.
    """
    file = io.BytesIO(content)
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise ValueError("is of another format")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("is of a machine of another byte order")
    found = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    if not isinstance(found, dict) or not all(isinstance(one, _Tensor) for one in found.values()):
        raise ValueError("holds other things than tensors by name")
    storages = {tensor.storage.key: tensor.storage for tensor in found.values()}
    contents = {}
    for key in keys:
        storage, length = storages[key], int.from_bytes(file.read(8), "little")
        contents[key] = file.read(storage.length * np.dtype(storage.dtype).itemsize)
        if length != storage.length:
            raise ValueError("has a storage of another length than its tensors say")
    return {str(name): _placed(tensor, contents[tensor.storage.key]) for name, tensor in found.items()}


def _placed(tensor: _Tensor, content: bytes) -> np.ndarray:
    """Returns a tensor as an array; numpy refuses one that does not lie within the content."""
    dtype = np.dtype(tensor.storage.dtype)
    strides = [dtype.itemsize * stride for stride in tensor.strides]
    return np.ndarray(tensor.shape, dtype, content, dtype.itemsize * tensor.offset, strides)


class _Unpickler(pickle.Unpickler):
    """Loads numbers, text, containers and what `find_class` returns; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of a name: nothing that a pickle could call for harm, or change for others."""
        names: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": lambda *arguments: _rebuilt(*arguments),
            **DTYPES,
        }
        if f"{module}.{name}" not in names:
            raise ValueError(f"asks for {module}.{name}, which is not loaded")
        return names[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a persistent id ("storage", type, key, location, length, view) names."""
        kind, dtype, key, _, length, view = pid
        if kind != "storage" or dtype not in DTYPES.values() or view is not None:
            raise ValueError("has a storage of another kind")
        return _Storage(str(key), dtype, int(length))


def _rebuilt(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("has a tensor without a storage")
    return _Tensor(storage, offset, shape, strides)
