"""Injects faults into a small study and checks that nothing is lost: python -m benchmarks.faults.

Kills the run with SIGKILL at random moments and starts it again until it is done, several
times over; with --flips, flips bits of its files; lets it run out of disk at many file sizes and
go on with room; and compares every result with that of a run that was left alone, byte for byte.
Writes a table and, with --out, JSON.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from aljax.records import files, verify
from tests.harness import launch, results, start

ROOT = Path(__file__).parents[1]
FILE_LIMITS = (50, 400, 1_200, 1_900, 2_500, 20_000, 60_000, 90_000)


def progress_of(workdir: Path) -> tuple[int, str]:
    """How many cycles are complete, and what a run was at when it was killed."""
    if not (workdir / "cycles.jsonl").exists():
        return 0, "starting"
    lines = len(files.read_lines(workdir / "cycles.jsonl")[0])
    selections = len(list(workdir.glob("selections/*/*.npz")))
    if list(workdir.rglob("*.orbax-checkpoint-tmp*")) or list(workdir.rglob(f"{files.PARTIAL}*")):
        return lines, "writing"
    return lines, "training" if selections > lines else "loading, scoring"


def kill_until_done(
    cache: Path, workdir: Path, longest: float, rng: np.random.Generator
) -> tuple[dict[str, int], int]:
    """Starts and kills a run until one start finishes it: kills by what it was at; lines lost."""
    kills: dict[str, int] = {}
    lines, lost = 0, 0
    while True:
        process = start(cache, workdir, checkpoint_minutes=0.0)
        try:
            process.wait(timeout=rng.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            return kills, lost
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the run ended by itself with {process.returncode}: {errors}")
        now, phase = progress_of(workdir)
        kills[phase] = kills.get(phase, 0) + 1
        lost += max(0, lines - now)
        lines = now


def flipped(workdir: Path, count: int, rng: np.random.Generator) -> list[str]:
    """Flips a bit at `count` places over all bytes of a finished run; returns those that verify misses."""
    paths = [path for path in sorted(workdir.rglob("*")) if path.is_file() and path.name != ".lock"]
    sizes = np.array([path.stat().st_size for path in paths])
    unnoticed = []
    for number in rng.choice(len(paths), count, p=sizes / sizes.sum()):
        path, place, bit = paths[number], int(rng.integers(sizes[number])), int(rng.integers(8))
        content = path.read_bytes()
        altered = bytearray(content)
        altered[place] ^= 1 << bit
        path.write_bytes(altered)
        if next(verify.problems(workdir), None) is None:
            unnoticed.append(f"{path.relative_to(workdir)}, byte {place}, bit {bit}")
        path.write_bytes(content)
    return unnoticed


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="at least so many")
    parser.add_argument("--flips", type=int, default=0, help="bits to flip in the finished run, e.g. 500")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cache = scratch / "cache"
        status, _, errors = launch(cache, scratch / "alone")  # compiles
        assert status == 0, errors
        begin = time.monotonic()
        status, _, errors = launch(cache, scratch / "again")
        assert status == 0, errors
        seconds = time.monotonic() - begin
        expected = results(scratch / "alone")
        differing = int(results(scratch / "again") != expected)
        compared = 1

        unnoticed = flipped(scratch / "again", options.flips, rng)

        kills: dict[str, int] = {}
        lost = 0
        while sum(kills.values()) < options.kills:
            workdir = scratch / f"killed-{compared}"
            found, lines_lost = kill_until_done(cache, workdir, 1.1 * seconds, rng)
            kills = {phase: kills.get(phase, 0) + found.get(phase, 0) for phase in kills | found}
            lost += lines_lost
            compared += 1
            differing += results(workdir) != expected or bool(list(verify.problems(workdir)))

        full = []
        for limit in FILE_LIMITS:
            workdir = scratch / f"full-{limit}"
            status, _, errors = launch(cache, workdir, file_limit=limit)
            own = [line for line in errors.splitlines() if line.startswith("aljax: ")]
            full.append((limit, status, len(own) == 1 and "Traceback" not in errors))
            status, _, errors = launch(cache, workdir)
            assert status == 0, errors
            compared += 1
            differing += results(workdir) != expected or bool(list(verify.problems(workdir)))

    table = Table("fault", "times", "what came of it")
    for phase, count in sorted(kills.items()):
        table.add_row(f"SIGKILL while {phase}", str(count), "went on")
    for limit, status, one_line in full:
        said = "one line" if one_line else "not one line"
        table.add_row(f"files end at {limit:,} bytes", "1", f"exit status {status}, {said}; went on")
    if options.flips:
        table.add_row("a flipped bit", str(options.flips), f"verify missed {len(unnoticed)}")
    Console().print(table)
    figures = {
        "kills": sum(kills.values()),
        "kills_by_phase": kills,
        "full_disks": len(full),
        "full_disks_told_in_one_line": sum(one_line for _, _, one_line in full),
        "runs_compared": compared,
        "runs_that_differ": differing,
        "lines_lost": lost,
        "flips": options.flips,
        "flips_unnoticed": unnoticed,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(figures, indent=2))
    if options.out:
        files.write(options.out, (json.dumps(figures, indent=2) + "\n").encode())
    told = all(status in (1, 2) and one_line for _, status, one_line in full)
    sys.exit(0 if told and not differing and not lost and not unnoticed else 1)


if __name__ == "__main__":
    main()
