"""Where the time of a cycle goes: python -m benchmarks.cycle [--out FILE] [--config.FIELD=VALUE ...].

Runs cycles of the CIFAR-10 protocol at reduced size through launch.py, twice: the first start
compiles, the second finds what was compiled on disk. What the first takes longer is the
compilation; the shares of the phases are those of the second. Images are random, or those of
--data-dir (a folder of train/CLASS/*.png and test/CLASS/*.png).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from aljax.records import files
from benchmarks import common

ROOT = Path(__file__).parents[1]
REDUCED = {
    "trials": 1,
    "cycles": 2,
    "budget": 100,
    "subset_size": 1_000,
    "train.epochs": 5,
    "train.min_steps": 0,
    "train.milestones": (4,),
    "train.detach_epoch": 3,
}
NETWORK = ("train", "score", "evaluate")  # phases in which the networks run


def write_images(folder: Path, per_class: dict[str, int], size: int = 32) -> None:
    """Random images of 10 classes: so many of each class in each split."""
    rng = np.random.default_rng(0)
    for split, count in per_class.items():
        for label in range(10):
            place = folder / split / f"class-{label}"
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(place / f"{i}.png")


def start(workdir: Path, cache: Path, settings: list[str]) -> float:
    """Seconds that a run takes, from the start of the process to its end."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), f"--workdir={workdir}", *settings],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    parser.add_argument("--data-dir", type=Path, help="a folder of images; random ones without it")
    parser.add_argument("--config", default=str(ROOT / "configs" / "cifar10.py"))
    options, overrides = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data_dir or Path(scratch) / "images"
        if options.data_dir is None:
            write_images(folder, {"train": 130, "test": 50})
        given = {override.split("=", 1)[0] for override in overrides}  # a tuple given twice grows
        reduced = {f"--config.{name}": value for name, value in REDUCED.items()}
        settings = [f"{flag}={value}" for flag, value in reduced.items() if flag not in given] + overrides
        place = ["--config.dataset.source=folder", f"--config.dataset.data_dir={folder}"]
        where = [f"--config={options.config}", *place]
        cache = Path(scratch) / "cache"
        first = start(Path(scratch) / "first", cache, [*where, *settings])
        second = start(Path(scratch) / "second", cache, [*where, *settings])
        lines, _ = files.read_lines(Path(scratch) / "second" / "timings.jsonl")
        same = [(Path(scratch) / run / "cycles.jsonl").read_bytes() for run in ("first", "second")]
    phases: dict[str, float] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("trial", "cycle"):
                phases[name] = phases.get(name, 0.0) + value
    in_cycles = sum(phases.values())
    rest = 1 - sum(phases.get(name, 0.0) for name in NETWORK) / in_cycles
    common.show(
        "A cycle by its phases",
        [
            {"phase": name, "s": value, "% of the cycles": 100 * value / in_cycles}
            for name, value in phases.items()
        ],
    )
    print(f"all but {', '.join(NETWORK)}: {100 * rest:.1f} % of the cycles")
    print(f"first start {first:.1f} s, second {second:.1f} s: compilation took {first - second:.1f} s")
    print(f"start, reading images and report, in the second: {second - in_cycles:.1f} s")
    print("cycles.jsonl of both: " + ("the same bytes" if same[0] == same[1] else "THEY DIFFER"))
    common.write(
        options.out,
        {
            "config": Path(options.config).name,
            "settings": settings,
            "phases": phases,
            "share_of_the_rest": rest,
            "seconds_first": first,
            "seconds_second": second,
            "same_bytes": same[0] == same[1],
        },
    )
    sys.exit(same[0] != same[1])


if __name__ == "__main__":
    main()
