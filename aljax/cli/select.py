"""Selects from features in shards on a disk, more than memory holds: aljax select."""

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aljax.cli.guard import Parser, expanded, guarded, output
from aljax.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = """Selects rows of a folder of shards, .npy arrays [n, D] or .parquet tables with a column of
features, which are read block by block. Writes a CSV of shard,row,number in the order of choice; numbers
count the rows of all shards, in natural order of their names."""
STATUS = """Exit status: 0 done, 1 the output could not be written, 2 a shard or an option is unusable."""
WIDEST = 2  # apart are two points of length 1, at most
METHODS = ("k_center", "maxherding", "probcover", "cluster_margin")


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax select", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder of shards")
    parser.add_argument("--budget", type=int, required=True, help="how many to select")
    parser.add_argument("--out", metavar="FILE.csv", type=Path, required=True, help="the file to write")
    parser.add_argument("--method", choices=METHODS, default="k_center", help="default: k_center")
    parser.add_argument("--labeled", metavar="FILE.npy", type=Path, help="features of labeled points, [L, D]")
    parser.add_argument(
        "--margins", metavar="FILE.npy", type=Path, help="of cluster_margin: a margin for each row, [N]"
    )
    parser.add_argument("--radius", type=float, help="of probcover: the radius of a ball, above 0")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    given = parser.parse_args(arguments)
    for method, option in (("cluster_margin", "margins"), ("probcover", "radius")):
        if given.method == method and getattr(given, option) is None:
            parser.error(f"--method={method}: accepted: with --{option}")
        if given.method != method and getattr(given, option) is not None:
            parser.error(f"--{option}: accepted: with --method={method}")
    if given.radius is not None and not 0 < given.radius <= WIDEST:
        parser.error(f"--radius={given.radius}: accepted: a number above 0 and at most {WIDEST}")
    if given.method == "cluster_margin" and given.labeled:
        parser.error("--labeled: --method=cluster_margin reads none")
    return _select(given)


def _select(given: Namespace) -> int:
    import jax
    import numpy as np

    from aljax.data import shards
    from aljax.records import chosen, files
    from aljax.runtime import compilation
    from aljax.strategies import sharded

    compilation.set_flags()
    compilation.keep()
    begin = time.monotonic()
    read = [given.folder, *(path for path in (given.labeled, given.margins) if path)]
    out = output(given.out, *map(expanded, read))
    found = shards.opened(expanded(given.folder))
    labeled = _array(given.labeled, "--labeled")
    key = jax.random.key(given.seed)
    text = ""
    try:
        if given.method == "cluster_margin":
            rows = sharded.cluster_margin(found, _array(given.margins, "--margins"), given.budget)
        else:
            batch = {
                "k_center": lambda: sharded.k_center(found, given.budget, labeled),
                "maxherding": lambda: sharded.maxherding(key, found, given.budget, labeled),
                "probcover": lambda: sharded.probcover(key, found, given.budget, given.radius, labeled),
            }[given.method]()
            rows = batch.chosen
            text = {
                "k_center": f", radius {batch.reached:.6g}, none has less than {batch.bound:.6g}",
                "maxherding": f", mean similarity {batch.reached:.6g}",
                "probcover": f", {batch.reached:.2%} covered",
            }[given.method] + f", in {batch.rounds + 1} rounds"
    except ValueError as error:
        raise InvalidInputError(f"{given.folder}: {error}") from error
    starts = np.array([part.start for part in found.parts])
    of = np.searchsorted(starts, rows, side="right") - 1
    lines = [(found.parts[at].path.name, row - starts[at], row) for at, row in zip(of, rows, strict=True)]
    files.write(out, chosen.table(["shard", "row", "number"], lines))
    print(f"{out}: {len(rows):,} of {found.rows:,} rows{text}, {time.monotonic() - begin:.0f} s")
    return 0


def _array(path: Path | None, option: str) -> "np.ndarray | None":
    import numpy as np

    if path is None:
        return None
    try:
        array = np.load(expanded(path), mmap_mode="r", allow_pickle=False)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"holds {array.dtype}")
        return array
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"{option}={str(path)!r}: {reason}; accepted: a .npy file of numbers"
        ) from error
