"""What every benchmark needs: side-by-side runs, ratios, the machine, tables and JSON."""

import argparse
import contextlib
import csv
import ctypes
import io
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import aljax
from aljax.runtime import mesh

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "numpy",
    "scikit-learn",
    "scikit-activeml",
    "small-text",
    "torch",
)
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # processors of one name differ in them
STATUS = Path("/proc/self/status")  # of Linux: where the peak of the resident memory stands


def parser(
    description: str | None, out: str = "where to write the figures as JSON"
) -> argparse.ArgumentParser:
    """A command line that has --out."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--out", type=Path, help=out)
    return arguments


def seconds(function: Callable[[], object]) -> float:
    """The time of one call, until its result is on the device."""
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin


def alternate(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    warm_up: Literal["never", "once", "each time"] = "once",
) -> dict[str, list[float]]:
    """Times functions in turn, round after round, so that a slow moment of the machine meets all.

    Args:
      functions: by name; each is called once in a round.
      repeats: the number of rounds.
      warm_up: when a function is called untimed before: "once", so that nothing compiles in the
        first round; "each time" that it is timed, so that it finds memory and caches as it left
        them, like an epoch that follows an epoch; or "never".

    Returns:
      Seconds, [repeats] for each name.
    """
    if warm_up == "once":
        for function in functions.values():
            seconds(function)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if warm_up == "each time":
                seconds(function)
            times[name].append(seconds(function))
    return times


def compared(times: Mapping[str, Sequence[float]], base: str) -> dict[str, dict[str, float]]:
    """Median, fastest and slowest of each, and how many times as long as `base` it takes.

    The ratio is the median of the ratios of the rounds; `ratio_low` and `ratio_high` are the
    smallest and the largest of them.
    """
    figures = {}
    for name, taken in times.items():
        ratios = np.array(taken) / np.array(times[base])
        figures[name] = {
            "seconds": float(np.median(taken)),
            "seconds_low": float(np.min(taken)),
            "seconds_high": float(np.max(taken)),
            "ratio": float(np.median(ratios)),
            "ratio_low": float(np.min(ratios)),
            "ratio_high": float(np.max(ratios)),
        }
    return figures


def peak_memory(function: Callable[[], object]) -> int | None:
    """The most resident memory during a call, above what was resident before it, in bytes.

    Of this process on the host, and with all that the call leaves to be collected. None where
    the system does not tell (it takes Linux).
    """
    with contextlib.suppress(OSError, AttributeError):  # of glibc: what earlier calls freed is given back,
        ctypes.CDLL(None).malloc_trim(0)  # else the call would be served from it, and seem to take nothing
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now
    except OSError:
        return None
    before = _resident("VmRSS")
    jax.block_until_ready(function())
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def rates(figures: dict[str, dict[str, float]], images: int) -> list[dict[str, object]]:
    """What `compared` found of ways to process so many images, as rows of a table."""
    return [
        {
            "": name,
            "images/s": images / found["seconds"],
            "times as long": found["ratio"],
            "from": found["ratio_low"],
            "to": found["ratio_high"],
        }
        for name, found in figures.items()
    ]


def machine() -> dict[str, Any]:
    """Processor, cores, devices and versions: what a figure must be read with."""
    mesh.local(0, batch_size=1)  # so that each core of a CPU counts as a device, as in a run
    about = _about_the_processor()
    return {
        "processor": about.get("model name", platform.processor()),
        "instructions": [name for name in INSTRUCTIONS if name in about.get("flags", "").split()],
        "cores": mesh.cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": [device.device_kind for device in jax.local_devices()],
        "python": platform.python_version(),
        "versions": {"aljax": aljax.__version__, **{name: version(name) for name in PACKAGES}},
    }


def _about_the_processor() -> dict[str, str]:
    """What Linux tells of the first core, by name; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def version(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows as a table whose columns are the keys of the first; None is printed as -."""
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in rows[0]))
    Console(width=None if Console().is_terminal else 160).print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def csv_of(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Returns rows as the content of a CSV file, whose columns are the keys of the first."""
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode()


def write(path: Path | None, figures: Mapping[str, object]) -> None:
    """Writes the figures with the machine they were measured on, as JSON; nothing without a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
