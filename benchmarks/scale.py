"""Memory and time as the pool grows, and of two processes: python -m benchmarks.scale --out FILE.json

Five parts, each in processes of their own, so that none finds what another left:

- pool: runs of two cycles on pools of 32 x 32 x 3 images from a cache on the disk, made for it, and on the
  digits. Memory is anonymous: the kernel drops the pages of a mapped file whenever others need the room, and
  they count apart ("mapped"). Start is the time from the start of the process until the study is prepared.
- epoch: the training of an epoch with the whole pool on the device, as it was before, and with the labeled
  images alone.
- k-center: selection from shards on the disk, from 10^4 points on; memory as above. Where greedy k-center of
  one block of all points fits, its radius stands beside.
- coverage: MaxHerding and ProbCover the same way.
- processes: seconds of the second cycle of a run by one process of two CPU devices, and by two of one, in
  turn; digits at 32 pixels, ResNet-18 of width 16. Both are on one machine: this says nothing of a network.

What is made lies in --folder (a temporary one, removed at the end): 3 KB an image, 512 bytes a point.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

BEGIN = time.monotonic()
ROOT = Path(__file__).parents[1]
STATUS = Path("/proc/self/status")
PARTS = ("pool", "epoch", "k-center", "coverage", "processes")
DIMENSIONS, BUDGET = 128, 1_000
CLASSES, TEST = 10, 2_000
FITS = 1_000_000  # points, up to which one block of all is selected from too
ROWS = 50_000  # of a shard, and of images that are drawn at once


def peak(function: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """The result of a call, and the most memory of this process meanwhile: anonymous, and mapped files'."""
    most = {"anonymous": 0, "mapped": 0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
            for name, field in (("anonymous", "RssAnon"), ("mapped", "RssFile")):
                most[name] = max(most[name], 1024 * int(lines[field].split()[0]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return function(), most
    finally:
        done.set()
        thread.join()


def images(count: int, path: Path) -> np.ndarray:
    """Random images of ten classes, which differ in brightness, mapped from a file that is made once."""
    shape = (count, 32, 32, 3)
    if not path.exists():
        rng = np.random.default_rng(count)
        drawn = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for start in range(0, count, ROWS):
            part = rng.integers(0, 100, (min(ROWS, count - start), *shape[1:]), np.uint8)
            shift = 15 * (np.arange(start, start + len(part)) % CLASSES)
            drawn[start : start + len(part)] = part + shift.astype(np.uint8)[:, None, None, None]
        drawn.flush()
    return np.load(path, mmap_mode="r")


def made(request: Any) -> Any:
    """A source of data, put into aljax's table for this process."""
    from aljax.data.sources.base import Dataset, Split

    def split(name: str, count: int) -> Split:
        pixels = images(count, Path(request.data_dir) / f"{name}.npy")
        labels = (np.arange(count) % CLASSES).astype(np.int32)
        return Split(pixels, labels, tuple(f"{name}-{row:07d}" for row in range(count)))

    return Dataset(split("train", int(request.name)), split("test", TEST), tuple(map(str, range(CLASSES))))


def run(name: str, folder: Path) -> dict[str, Any]:
    """Runs a small study on a pool of so many images, or on the digits; it is this process's only work."""
    from aljax.config import study
    from aljax.data.sources import SOURCES
    from aljax.experiment import loop
    from aljax.runtime import compilation

    config = study("digits")
    config.trials, config.cycles, config.model.width = 1, 2, 2
    config.train.epochs, config.train.milestones, config.train.detach_epoch = 1, (0.5,), 1
    config.train.min_steps, config.budget, config.subset_size = 0, 100, 1_000
    if name != "digits":
        SOURCES["made"] = made
        config.dataset.source, config.dataset.name, config.dataset.data_dir = "made", name, str(folder / name)
        config.dataset.image_size, config.dataset.channels = 32, 3
        config.dataset.cache = str(folder / "cache")
        config.budget, config.subset_size = 500, 5_000
    prepare, started = loop.prepare, []

    def prepared(*arguments: Any) -> Any:
        found = prepare(*arguments)
        started.extend([time.monotonic() - BEGIN, time.process_time()])
        return found

    loop.prepare = prepared  # type: ignore[assignment]
    compilation.set_flags()
    compilation.keep()
    workdir = Path(tempfile.mkdtemp(dir=folder))
    _, most = peak(lambda: loop.run(config.to_dict(), workdir))
    last = json.loads((workdir / "cycles.jsonl").read_text().splitlines()[-1])
    return {
        "start_seconds": started[0],
        "start_cpu_seconds": started[1],  # on a machine that does other work, the better measure
        "seconds": time.monotonic() - BEGIN,
        **most,
        "C": last["C"],
    }


def pool(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Every pool twice, with a cache that is made and one that is there."""
    rows = [{"images": 1_300, "cache": "digits", **child(folder, "run", "digits")} for _ in range(2)][1:]
    for size in sizes:
        (folder / str(size)).mkdir()
        images(size, folder / str(size) / "train.npy")
        images(TEST, folder / str(size) / "test.npy")
        rows += [
            {"images": size, "cache": cache, **child(folder, "run", str(size))} for cache in ("made", "there")
        ]
        shutil.rmtree(folder / "cache")
        shutil.rmtree(folder / str(size))
    return rows


def epoch(folder: Path, repeats: int) -> dict[str, Any]:
    """Times an epoch of 1,000 of 50,000 images, with all images on the device and with those alone."""
    import jax

    from aljax.models import LossPredictor, ResNet18
    from aljax.runtime import mesh
    from aljax.training import ensemble, feed
    from aljax.training.recipe import Recipe
    from aljax.training.step import Examples, Networks
    from benchmarks import common

    batch = 128
    devices = mesh.local(0, batch, batch * 32 * 32)
    pixels, labels = (
        np.array(images(50_000, folder / "epoch.npy")),
        (np.arange(50_000) % CLASSES).astype(np.int32),
    )
    stored = feed.Images(pixels, labels, np.full(3, 100, np.float32), np.full(3, 50, np.float32))
    rows = np.random.default_rng(0).choice(50_000, 1_000, replace=False).astype(np.int32)
    everywhere = mesh.everywhere(devices)
    whole = Examples(*jax.device_put(tuple(stored), everywhere))
    networks = Networks(ResNet18(CLASSES, 16), LossPredictor())
    recipe = Recipe(200, batch, 0.1, (160,), 0.1, 0.9, 5e-4, 1.0, 1.0, 120, 4, True)
    keys = jax.random.key(0)[None]

    def trained(examples: Any, labeled: np.ndarray) -> Any:
        state = ensemble.fresh(keys, networks=networks, recipe=recipe, image_shape=(32, 32, 3))
        numbers = (np.int32(len(rows)), np.int32(0), np.int32(1), np.int32(200))
        options: Any = {"networks": networks, "recipe": recipe, "sharding": mesh.spread(devices)}
        return ensemble.epochs(state, examples, labeled, *numbers, keys, **options)

    few = feed.gathered(stored, rows, len(rows), everywhere)
    functions = {
        "whole pool on the device": lambda: trained(whole, rows),
        "labeled images alone": lambda: trained(few, np.arange(len(rows), dtype=np.int32)),
        "gathering them, once a cycle": lambda: feed.gathered(stored, rows, len(rows), everywhere),
    }
    same = all(
        np.array_equal(a, b)
        for a, b in zip(*(jax.tree.leaves(functions[name]()) for name in list(functions)[:2]), strict=True)
    )
    figures = common.compared(common.alternate(functions, repeats), "whole pool on the device")
    return {"methods": [{"": name, **own} for name, own in figures.items()], "same_bytes": same}


def shards(folder: Path, points: int) -> Path:
    """Makes shards of features like a network's, as benchmarks.kcenter describes them, in random order."""
    place = folder / f"{points}"
    if place.exists():
        return place
    place.mkdir()
    rng, rank = np.random.default_rng(0), 16
    centers = rng.normal(0, 1.5, (CLASSES, rank))
    mix = rng.normal(0, rank**-0.5, (rank, DIMENSIONS)).astype(np.float32)
    for number, start in enumerate(range(0, points, ROWS)):
        count = min(ROWS, points - start)
        length = rng.gamma(2, 0.5, (count, 1))
        hidden = centers[rng.integers(0, CLASSES, count)] + length * rng.normal(size=(count, rank))
        noise = 0.05 * rng.standard_normal((count, DIMENSIONS), np.float32)
        features = np.maximum(hidden.astype(np.float32) @ mix + noise, 0)
        np.save(place / f"part-{number}-of-{-(-points // ROWS)}.npy", features)
    return place


def select(method: str, points: int, more: int, folder: Path) -> dict[str, Any]:
    """Selects from shards; it is this process's only work."""
    import jax

    from aljax.data import shards as files
    from aljax.runtime import mesh
    from aljax.strategies import sharded

    mesh.local(0, batch_size=1)
    opened = files.opened(shards(folder, points))
    budget = min(BUDGET, points // 50)
    methods: dict[str, Callable[[], sharded.Batch]] = {
        "k-center": lambda: sharded.k_center(opened, budget, more=more),
        "one block": lambda: sharded.k_center(opened, budget, last=points),
        "maxherding": lambda: sharded.maxherding(jax.random.key(0), opened, budget),
        "probcover": lambda: sharded.probcover(jax.random.key(0), opened, budget, 0.3),
    }
    begin, worked = time.monotonic(), time.process_time()
    batch, most = peak(methods[method])
    seconds, worked = time.monotonic() - begin, time.process_time() - worked
    found = {
        name: None if np.isnan(value) else float(value)
        for name, value in (("reached", batch.reached), ("bound", batch.bound))
    }
    stay = more if method == "k-center" else None
    counts = {"rounds": batch.rounds, "among": batch.among, "budget": budget, "more": stay}
    return {
        "seconds": seconds,
        "cpu_seconds": worked,
        **found,
        **counts,
        **most,
        "feature_bytes": 4 * DIMENSIONS * points,
    }


def grown(folder: Path, sizes: list[int], methods: tuple[str, ...], more: int) -> list[dict[str, Any]]:
    """Selects by every method from shards of every size."""
    rows = []
    for points in sizes:
        shards(folder, points)
        for method in methods:
            if method == "one block" and points > FITS:
                continue
            found = child(folder, "select", method, str(points), str(more))
            share = found["anonymous"] / found["feature_bytes"]
            rows.append({"points": points, "method": method, **found, "memory / features": share})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        shutil.rmtree(folder / f"{points}")
    return rows


def processes(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Times runs of one process and of two, which share the work of two CPU devices."""
    from benchmarks import common

    fields = {
        "trials": 1,
        "cycles": 2,
        "devices": 2,
        "dataset.image_size": 32,
        "model.width": 16,
        "train.batch_size": 128,
        "train.min_steps": 20,
        "train.epochs": 1,
    }
    times: dict[str, list[float]] = {"one process of two devices": [], "two processes of one": []}
    cycles: dict[str, list[float]] = {name: [] for name in times}
    for place in range(repeats + 1):  # the first compiles, and does not count
        for count, name in enumerate(times, start=1):
            workdir = folder / f"processes-{count}-{place}"
            begin = time.monotonic()
            team = [launched(workdir, fields, number, count) for number in range(count)]
            if any(process.wait() for process in team):
                sys.exit(f"{name}: a process failed")
            if place:
                times[name].append(time.monotonic() - begin)
                last = json.loads((workdir / "timings.jsonl").read_text().splitlines()[-1])
                cycles[name].append(sum(last[phase] for phase in ("train", "score", "evaluate", "select")))
    run, cycle = (common.compared(taken, next(iter(times))) for taken in (times, cycles))
    return [
        {
            "": name,
            "cycle_seconds": cycle[name]["seconds"],
            "times as long": cycle[name]["ratio"],
            "from": cycle[name]["ratio_low"],
            "to": cycle[name]["ratio_high"],
            "run_seconds": run[name]["seconds"],
        }
        for name in times
    ]


def launched(workdir: Path, fields: Mapping[str, object], number: int, count: int) -> subprocess.Popen[bytes]:
    """Starts one of `count` processes of a run."""
    port = 20_000 + os.getpid() % 20_000
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    if count > 1:
        flags += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={number}"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), f"--workdir={workdir}", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(2 // count)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def child(folder: Path, *arguments: str) -> dict[str, Any]:
    """Runs a function of this module in a process of its own, which prints what it returns."""
    command = [sys.executable, "-m", "benchmarks.scale", "--folder", str(folder), "--child", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures the parts asked for, and shows and writes the figures after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--folder", type=Path, help="for what is made; a temporary one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--images", nargs="+", type=int, default=[200_000, 1_000_000])
    parser.add_argument("--points", nargs="+", type=int, default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--coverage-points", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--more", type=int, default=4, help="points of a block that stay for each center")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *arguments = options.child
        if name == "run":
            found = run(arguments[0], options.folder)
        else:
            found = select(arguments[0], int(arguments[1]), int(arguments[2]), options.folder)
        print(json.dumps(found))
        return
    from benchmarks import common

    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as made_here:
        folder = Path(made_here)
        parts: dict[str, Callable[[], Any]] = {
            "pool": lambda: pool(folder, options.images),
            "epoch": lambda: epoch(folder, options.repeats),
            "k-center": lambda: grown(folder, options.points, ("k-center", "one block"), options.more),
            "coverage": lambda: grown(
                folder, options.coverage_points, ("maxherding", "probcover"), options.more
            ),
            "processes": lambda: processes(folder, options.repeats),
        }
        for part in options.parts:
            figures[part] = parts[part]()
            common.show(part, figures[part]["methods"] if part == "epoch" else figures[part])
            common.write(options.out, figures)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
