"""Features in shards: a folder of .npy arrays or .parquet tables, read a block of rows at a time.

Rows are numbered through all shards, which come in the natural order of their names. Names that end in a
number must leave none out, and those that end in "-3-of-8" must be eight, so that no shard is missed.

Shapes: N rows in all shards, D features, n rows in a block.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.data import archives
from aljax.data.names import natural
from aljax.errors import InvalidInputError, first_line

SUFFIXES = (".npy", ".parquet")
NUMBERED = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?")
COLUMN = "features"  # of a .parquet table: lists of D numbers
ROWS_AT_ONCE = 2**14  # of a table


class Shard(NamedTuple):
    """A file, and its place among the rows."""

    path: Path
    start: int
    rows: int


class Shards(NamedTuple):
    """All shards of a folder."""

    parts: tuple[Shard, ...]
    dimensions: int  # D

    @property
    def rows(self) -> int:
        """Counts the rows of all shards."""
        return self.parts[-1].start + self.parts[-1].rows


def opened(folder: Path) -> Shards:
    """Finds the shards of a folder and checks that they fit together, without reading their rows.

    Raises:
      InvalidInputError: if there are none, if one is missing or damaged, or if they differ in D.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such folder; accepted: a folder of {' or '.join(SUFFIXES)}")
    paths = sorted(
        (one for one in folder.iterdir() if one.suffix in SUFFIXES), key=lambda one: natural(one.name)
    )
    if not paths:
        raise InvalidInputError(
            f"{folder}: holds no shards; accepted: files that end in {' or '.join(SUFFIXES)}"
        )
    _check_complete(folder, paths)
    parts: list[Shard] = []
    start, dimensions = 0, 0
    for path in paths:
        rows, own = _shape(path)
        dimensions = dimensions or own
        if own != dimensions:
            raise InvalidInputError(
                f"{path}: has {own} features a row; accepted: {dimensions}, as {paths[0].name} has"
            )
        parts.append(Shard(path, start, rows))
        start += rows
    return Shards(tuple(parts), dimensions)


def blocks(shards: Shards, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields all rows in order, `size` at a time, with the number of the first: [n, D] float32.

    Raises:
      InvalidInputError: if a shard cannot be read any more, or a number is not finite.
    """
    held: list[np.ndarray] = []
    begin = count = 0
    for shard in shards.parts:
        for part in _read(shard, size):
            while len(part):
                more = part[: size - count]
                held.append(more)
                count, part = count + len(more), part[len(more) :]
                if count == size:
                    yield begin, np.concatenate(held)
                    begin, count, held = begin + size, 0, []
    if held:
        yield begin, np.concatenate(held)


def taken(shards: Shards, rows: np.ndarray) -> np.ndarray:
    """Returns some rows [n] in their order, [n, D] float32; raises as `blocks`."""
    found = np.empty((len(rows), shards.dimensions), np.float32)
    for shard in shards.parts:
        wanted = np.flatnonzero((rows >= shard.start) & (rows < shard.start + shard.rows))
        if not len(wanted):
            continue
        own, begin = rows[wanted] - shard.start, 0
        if shard.path.suffix == ".npy":
            found[wanted] = _finite(_array(shard)[own], shard, own)
            continue
        for part in _read(shard, ROWS_AT_ONCE):
            here = (own >= begin) & (own < begin + len(part))
            found[wanted[here]] = part[own[here] - begin]
            begin += len(part)
    return found


def _check_complete(folder: Path, paths: list[Path]) -> None:
    names = [NUMBERED.fullmatch(path.stem) for path in paths]
    series: dict[tuple[str, str], list[int]] = {}
    for match in filter(None, names):
        series.setdefault((match[1], match[3] or ""), []).append(int(match[2]))
    for (begin, of), numbers in series.items():
        first = min(0 if of else numbers[0], *numbers)
        if of and int(of) in numbers:  # counted from 1
            first = 1
        last = int(of) + first - 1 if of else max(numbers)
        if missing := sorted({*range(first, last + 1)} - {*numbers}):
            raise InvalidInputError(
                f"{folder}: of the shards {begin}{first} to {begin}{last}, {begin}{missing[0]} is missing"
                f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; accepted: all of them"
            )


def _shape(path: Path) -> tuple[int, int]:
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.ndim != 2 or array.dtype.kind not in "fiu" or not all(array.shape):
                raise ValueError(f"holds {array.dtype} {array.shape}, not numbers [n, D]")
            return array.shape
        table = _table(path)
        if COLUMN not in table.schema_arrow.names:
            raise ValueError(f"has no column {COLUMN!r}")
        first = next(table.iter_batches(1, columns=[COLUMN]), None)
        if first is None:
            raise ValueError("has no rows")
        return table.metadata.num_rows, len(first.column(0)[0])
    except InvalidInputError:
        raise
    except Exception as error:  # of a damaged file, almost any kind
        raise _damaged(path, error) from error


def _read(shard: Shard, size: int) -> Iterator[np.ndarray]:
    """Yields the rows of a shard, [at most size, D] float32."""
    begin = 0
    for part in _tabled(shard, size) if shard.path.suffix == ".parquet" else _mapped(shard, size):
        yield _finite(part, shard, np.arange(begin, begin + len(part)))
        begin += len(part)


def _mapped(shard: Shard, size: int) -> Iterator[np.ndarray]:
    array = _array(shard)
    for start in range(0, shard.rows, size):
        yield array[start : start + size]


def _array(shard: Shard) -> np.ndarray:
    try:
        array = np.load(shard.path, mmap_mode="r", allow_pickle=False)
        if len(array) != shard.rows:
            raise ValueError(f"has {len(array)} rows, and had {shard.rows}")
        return array
    except (OSError, ValueError) as error:
        raise _damaged(shard.path, error) from error


def _tabled(shard: Shard, size: int) -> Iterator[np.ndarray]:
    try:
        for batch in _table(shard.path).iter_batches(min(size, ROWS_AT_ONCE), columns=[COLUMN]):
            values = batch.column(0)
            flat = values.flatten().to_numpy(zero_copy_only=False)
            lengths = np.unique(values.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
            if len(lengths) > 1:
                raise ValueError(f"its rows hold {lengths.min()} to {lengths.max()} features")
            yield flat.reshape(len(values), -1)
    except Exception as error:
        raise _damaged(shard.path, error) from error


def _table(path: Path) -> Any:
    archives.require("pyarrow", path)
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path)


def _finite(part: np.ndarray, shard: Shard, rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # an infinity is refused below
        part = np.asarray(part, np.float32)
    if not (finite := np.isfinite(part).all(axis=1)).all():
        raise InvalidInputError(
            f"{shard.path}: row {rows[np.argmin(finite)]} holds a value that is not finite; accepted: finite "
            "numbers"
        )
    return part


def _damaged(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{path}: {first_line(error).rstrip('.')}; accepted: a whole shard of numbers [n, D]"
    )
