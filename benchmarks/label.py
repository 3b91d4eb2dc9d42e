"""Labeling without a person: python -m benchmarks.label FOLDER [--out FILE].

FOLDER holds images in folders of their classes (CIFAR-10's train split, say). Some of them, the same for all
runs, are laid out without labels and labeled as `aljax label` does, with the strategy of configs/label.py and
at random, by several seeds. The answers come at once, so that minutes are those that a person waits, from
the start of the command (its imports included) until the model after so many labels is there. The first run
embeds the images, the others take its embeddings over. Accuracy is that on all images which were not asked
about.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.config import study
from aljax.experiment import people, saved, simulate
from aljax.oracles import Oracle, Session, Setting
from aljax.oracles.dataset import answering
from aljax.records import journal
from benchmarks import common

LABELS = (100, 300)


class Reached(NamedTuple):
    """A model at a number of labels."""

    minutes: float  # since the start
    accuracy: float  # on the images that were not asked about


def laid_out(source: Path, folder: Path, count: int) -> dict[str, str]:
    """Copies images that are drawn at random into a folder without classes; returns the classes by name."""
    paths = sorted(path for path in source.glob("*/*") if path.is_file())
    rows = np.sort(np.random.default_rng(0).permutation(len(paths))[:count])
    truth = {}
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        name = f"{number:05d}{paths[row].suffix}"
        shutil.copyfile(paths[row], folder / name)
        truth[name] = paths[row].parent.name
    return truth


def measured(truth: Mapping[str, str], folder: Path, begin: float, reached: dict[int, Reached]) -> Oracle:
    """Returns an oracle that answers at once, and measures the model that there is when it is asked."""

    @contextlib.contextmanager
    def oracle(setting: Setting) -> Iterator[Session]:
        with answering(truth)(setting) as session:

            def ask(batch: Any) -> None:
                now = time.monotonic()
                labels = journal.standing(journal.read(setting.workdir))
                if len(labels) in LABELS:
                    reached[len(labels)] = Reached(
                        (now - begin) / 60, accuracy(setting.workdir, folder, truth, labels)
                    )
                session.ask(batch)

            yield Session(ask, session.report)

    return oracle


def accuracy(workdir: Path, folder: Path, truth: Mapping[str, str], asked: Mapping[str, Any]) -> float:
    """Returns the accuracy of a run's model on the images that were not asked about."""
    model = saved.load(workdir)
    others = [name for name in truth if name not in asked]
    found = model.predict([folder / name for name in others]).argmax(axis=1)
    return float(
        np.mean([model.class_names[row] == truth[name] for row, name in zip(found, others, strict=True)])
    )


def run(
    folder: Path, truth: Mapping[str, str], workdir: Path, seed: int, acquire: str, first: Path | None
) -> dict[int, Reached]:
    """Labels the images; returns the models at `LABELS`."""
    begin = time.monotonic()
    config = study("label").to_dict()
    config |= {"seed": seed, "acquire": acquire, "cycles": LABELS[-1] // config["budget"] + 1}
    names = tuple(sorted(set(truth.values())))
    config["dataset"] |= {"data_dir": str(folder), "class_names": names}
    if first:
        simulate.begin(first, config, workdir)
    reached: dict[int, Reached] = {}
    people.run(config, workdir, measured(truth, folder, begin, reached))
    return reached


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    imported = time.process_time() / 60  # what starting took, of which most is imports
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path, help="with a folder of images for each class")
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        truth = laid_out(given.folder, folder, given.images)
        first = None
        for seed in range(given.seeds):
            for acquire in ("uncertainty", "random"):
                workdir = Path(scratch) / f"{acquire}-{seed}"
                reached = run(folder, truth, workdir, seed, acquire, first)
                rows += [
                    {
                        "acquire": acquire,
                        "seed": seed,
                        "labels": labels,
                        "minutes": round(found.minutes + imported, 2),
                        "accuracy": round(found.accuracy, 4),
                        "embedded": first is None,
                    }
                    for labels, found in reached.items()
                ]
                first = first or workdir
    means = [
        {
            "acquire": acquire,
            "labels": labels,
            **spread(
                [row["accuracy"] for row in rows if (row["acquire"], row["labels"]) == (acquire, labels)]
            ),
        }
        for acquire in ("uncertainty", "random")
        for labels in LABELS
    ]
    common.show(f"{given.images:,} images, {given.seeds} seeds: accuracy on those not asked about", means)
    common.show("each run", rows)
    common.write(given.out, {"images": given.images, "accuracy": means, "runs": rows})


def spread(values: list[float]) -> dict[str, float]:
    """Returns the mean and the standard deviation of a sample."""
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else 0.0,
    }


if __name__ == "__main__":
    main()
