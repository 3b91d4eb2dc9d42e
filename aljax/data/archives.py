"""Embeddings in files: .npz, .npy, .safetensors and .parquet as arrays; nothing is ever unpickled.

Beside a .npy or a .safetensors file, a CSV of the same stem holds what else is known of the rows:
file,label[,split]. Large arrays are mapped into memory, not read.

Shapes: N images, D features, K classes.
"""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.data import tables
from aljax.errors import InvalidInputError, first_line

CHUNK = 2**20  # bytes that are read at once
EXTRA = "pip install 'aljax[embeddings]'"


class Archive(NamedTuple):
    """The arrays of a file, as they stand there; all but the features may be absent."""

    features: np.ndarray  # [N, D]
    labels: np.ndarray | None = None  # whole numbers or names, [N]
    files: np.ndarray | None = None  # names, [N]
    split: np.ndarray | None = None  # names, [N]
    class_names: np.ndarray | None = None  # [K]


def read(given: str | Path) -> Archive:
    """Reads a file of embeddings.

    Raises:
      InvalidInputError: if there is no such file, if its format is not one of `READERS` or needs a package
        that is not installed, or if it is damaged, holds pickled objects or no features.
    """
    path, known = Path(given), ", ".join(READERS)
    if not path.is_file():
        raise InvalidInputError(
            f"config.dataset.data_dir={str(given)!r}: accepted: a file that exists, one of {known}"
        )
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path}: accepted: one of {known}")
    try:
        arrays = reader(path)
    except InvalidInputError:
        raise
    except Exception as error:  # of a damaged file, almost any kind
        raise InvalidInputError(
            f"{path}: {first_line(error).rstrip('.')}; accepted: a whole file of numbers and texts, "
            "without pickled objects"
        ) from error
    if "features" not in arrays:
        raise InvalidInputError(
            f"{path}: holds {', '.join(map(repr, arrays)) or 'nothing'}; accepted: 'features' [N, D], and "
            f"{', '.join(map(repr, Archive._fields[1:]))} where they are known"
        )
    return Archive(**{name: arrays[name] for name in Archive._fields if name in arrays})


def _npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError("is no .npz archive, or not whole")
    with open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if "features" not in archive.files:
            return dict.fromkeys(archive.files, np.empty(0))
        arrays = {name: archive[name] for name in archive.files if name in Archive._fields[1:]}
        mapped = _mapped(path, "features.npy")
        return {**arrays, "features": archive["features"] if mapped is None else mapped}


def _mapped(path: Path, member: str) -> np.ndarray | None:
    """Maps an array of an archive into memory, once its checksum is right; None if it is compressed."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        found = archive.NameToInfo.get(member)
        if found is None or found.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(found) as content:
            while content.read(CHUNK):  # which fails at its end where the checksum differs
                pass
        file.seek(found.header_offset)
        header = file.read(30)  # of the member; its name and an extra field of these lengths follow
        file.seek(sum(int.from_bytes(header[place : place + 2], "little") for place in (26, 28)), 1)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject or not all(shape):
            return None  # refused, or read, where every array is
        order: Any = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", file.tell(), shape, order)


_header_2_0 = np.lib.format.read_array_header_2_0


def _npy(path: Path) -> dict[str, np.ndarray]:
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise InvalidInputError(
            f"{table}: no such file; accepted: file,label[,split] of each row of {path.name}"
        )
    if zipfile.is_zipfile(path):
        raise ValueError("is an archive and no array; its name is to end in .npz")
    return {"features": np.load(path, mmap_mode="r", allow_pickle=False), **_table(table)}


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    require("safetensors", path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys() if name in ("features", "labels")}  # noqa: SIM118
        names = (file.metadata() or {}).get("class_names")
    if names is not None:
        arrays["class_names"] = np.array(json.loads(names))
    table = path.with_suffix(".csv")
    return {**arrays, **(_table(table) if table.is_file() else {})}


def _parquet(path: Path) -> dict[str, np.ndarray]:
    require("pyarrow", path)
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, partitioning=None)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    arrays = {name: _column(values) for name, values in columns.items() if name in Archive._fields[1:]}
    if "features" in columns:
        features = columns["features"]
        if not hasattr(features, "value_lengths") or not len(features):
            raise ValueError(
                f"its {len(features)} rows of features are of type {features.type}, not lists of numbers"
            )
        lengths = np.unique(features.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise ValueError(f"its rows hold {lengths.min()} to {lengths.max()} features")
        flat = features.flatten().to_numpy(zero_copy_only=False)
        arrays["features"] = flat.reshape(len(features), -1)
    return arrays


def _column(values: Any) -> np.ndarray:
    """Returns a column of whole numbers, -1 where it is null, or of names, "" where it is null."""
    import pyarrow

    null = -1 if pyarrow.types.is_integer(values.type) else ""
    return np.array([null if value is None else value for value in values.to_pylist()])


def _table(path: Path) -> dict[str, np.ndarray]:
    """Reads a CSV of file,label[,split], a line for each row of features."""
    try:
        rows = tables.read(path)
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}; accepted: a CSV of file,label[,split]") from error
    arrays = {"files": np.array([row.file for row in rows]), "labels": np.array([row.label for row in rows])}
    if any(row.split for row in rows):
        arrays["split"] = np.array([row.split for row in rows])
    return arrays


def require(package: str, path: Path) -> None:
    """Raises InvalidInputError if a package that a format needs is not installed."""
    if importlib.util.find_spec(package) is None:
        raise InvalidInputError(f"{path}: needs {package}: {EXTRA}; accepted without it: .npz, .npy")


READERS: Mapping[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
