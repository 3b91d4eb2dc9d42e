"""Does C follow the labels, or the fit? Runs that vary one thing at a time: python -m benchmarks.evidence.

Each line of `SETTINGS` is a run of configs/digits.py with other fields, in a folder of its own. They run one
after the other, with the lowest priority; the same command goes on where it was stopped, and ends with the
report of all that have begun: comparison.html, the figure, its points (points.csv) and the rank
correlations (explanation.json). docs/evidence.md says how to read them.
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aljax.records import files, reader
from aljax.report import explanation, figures, make, render

ROOT = Path(__file__).parents[1]
HALF = ("dataset.images=650", "budget=25", "subset_size=250")  # of the digits; B/M stays
MNIST = ("dataset.name=mnist", "dataset.image_size=14", "train.pad=2")

SETTINGS: dict[str, tuple[str, ...]] = {  # name of the run: fields of the config, and their values
    "base": (),
    # how long the model is trained: so many steps in each cycle, where base has 800
    "steps_50": ("train.epochs=1", "train.min_steps=50"),
    "steps_100": ("train.epochs=1", "train.min_steps=100"),
    "steps_200": ("train.epochs=1", "train.min_steps=200"),
    "steps_400": ("train.epochs=1", "train.min_steps=400"),
    "steps_1600": ("train.epochs=1", "train.min_steps=1600"),
    # what it can fit
    "width_4": ("model.width=4",),
    "width_16": ("model.width=16",),
    # what it is shown
    "no_crop": ("train.pad=0",),
    "crop_2": ("train.pad=2",),
    "pixels_16": ("dataset.image_size=16", "train.pad=2"),
    "images_650": HALF,
    "classes_5": (*HALF, "dataset.classes=5"),
    "mnist": MNIST,
    "mnist_steps_100": (*MNIST, "train.epochs=1", "train.min_steps=100"),
    # what selects
    "core_set_cosine": ("diversity=core_set_cosine",),
    "entropy": ("uncertainty=entropy",),
}


def command(name: str, folder: Path, trials: int) -> list[str]:
    """Returns the command line of one run."""
    fields = (*SETTINGS[name], f"trials={trials}")
    return [
        sys.executable,
        str(ROOT / "launch.py"),
        f"--config={ROOT / 'configs' / 'digits.py'}",
        f"--workdir={folder / name}",
        *(f"--config.{field}" for field in fields),
    ]


def run(line: Sequence[str]) -> int:
    """Runs a command line to its end; returns its exit status."""
    return subprocess.run(line, check=False).returncode


def write(folder: Path, runs: Sequence[Path]) -> explanation.Explanation | None:
    """Writes the report of those runs that have begun; returns the rank correlations."""
    begun = [path for path in runs if (path / "config.json").exists()]
    shown = [loaded for loaded in map(reader.load, begun) if loaded.lines]
    if len(shown) < 2:
        return None
    make.side_by_side([loaded.path for loaded in shown], folder / "comparison.html")
    for drawn in figures.fit(shown):
        files.write(folder / "fit.svg", render.svg(drawn.figure))
        files.write(folder / "fit.png", render.png(drawn.figure))
    found = explanation.explain(shown)
    if found is not None:
        rows = [row._asdict() for row in found.rows]
        for row in rows:
            row |= {kind: row[kind]._asdict() for kind in explanation.KINDS}
        content = {"method": explanation.METHOD, "rows": rows, "sentences": found.sentences}
        files.write(folder / "explanation.json", (json.dumps(content, indent=1) + "\n").encode())
        files.write(folder / "points.csv", table(found.points, reader.names(shown)))
    return found


def table(points: Sequence[explanation.Point], names: Sequence[str]) -> bytes:
    """Returns the points as the content of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(explanation.Point._fields)
    writer.writerows((names[point.run], *point[1:]) for point in points)
    return text.getvalue().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the set; returns the exit status: 1 if a run failed, 128 and more if one was stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETTINGS)}; none: all")
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"), help="of the run directories")
    parser.add_argument("--trials", type=int, default=3, help="of each run")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="more runs for the report")
    parser.add_argument("--report", action="store_true", help="runs nothing: the report of what is there")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(SETTINGS):
        parser.error(f"{', '.join(sorted(unknown))}: accepted: {', '.join(SETTINGS)}")
    names = [name for name in SETTINGS if name in given.names or not given.names]
    failed = []
    if not given.report:
        os.nice(19)
        for name in names:
            print(f"{name}: {' '.join(SETTINGS[name]) or 'as configs/digits.py'}", flush=True)
            status = run(command(name, given.folder, given.trials))
            if status < 0 or status > 128:  # interrupted: the same command goes on
                return abs(status) if status > 128 else 128 - status
            failed += [name] * (status != 0)
    found = write(given.folder, [*(given.folder / name for name in names), *given.beside])
    for sentence in found.sentences if found else ["fewer than two runs have begun: no comparison"]:
        print(sentence)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
