"""The labels of a run that people label, in the forms that others read.

The images that judge the models are its "test" split, as those of a test set are.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from aljax.data.sources import unlabeled
from aljax.errors import InvalidInputError, RunError
from aljax.records import chosen, files, stored_config
from aljax.records.inventory import JUDGE, TEST, TRAIN
from aljax.records.journal import Answer
from aljax.report import people


class Labeled(NamedTuple):
    """A labeled image."""

    file: str
    split: str  # "train" or "test"
    answer: Answer


def labeled(workdir: Path) -> Iterator[Labeled]:
    """Yields the labeled images of a run, in the order of its images."""
    labels = people.load(workdir)
    known = labels.of(TRAIN, JUDGE, TEST)
    for image in labels.images:
        if image.file in known:
            yield Labeled(
                image.file, "train" if image.split == TRAIN else "test", labels.counting[image.file]
            )


def csv(workdir: Path, out: Path) -> int:
    """Writes a table that `config.dataset.labels` reads; returns the number of images."""
    header = ("file", "label", "split", "cycle", "who", "seconds", "time", "sha256")
    rows = [
        (file, one.label, split, one.cycle, one.who, one.seconds, one.time, one.sha256)
        for file, split, one in labeled(workdir)
    ]
    files.write(out, chosen.table(header, rows))
    return len(rows)


def imagefolder(workdir: Path, out: Path) -> int:
    """Copies the images to OUT/train/CLASS/ and OUT/test/CLASS/, under their names; returns their number.

    Raises:
      InvalidInputError: if the folder is not empty, or an image is no longer there.
      RunError: if a file could not be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"--out={out}: is there; accepted: a new folder")
    found, root = list(labeled(workdir)), data_dir(workdir)
    paths, _ = unlabeled.listed(root)
    for file, _, _ in found:
        if file not in paths:
            raise InvalidInputError(f"{root / file}: no such file; accepted: the folder of images as it was")
    try:
        for file, split, one in found:
            place = out / split / one.label / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(paths[file], place)
    except OSError as error:
        raise RunError(f"{out}: could not be written ({error.strerror})") from error
    return len(found)


def label_studio(workdir: Path, out: Path) -> int:
    """Writes tasks with annotations as Label Studio imports them; returns their number.

    Images are named as its local storage serves them, below the folder of images.
    """
    tasks = [
        {
            "data": {"image": f"/data/local-files/?d={file}", "file": file, "sha256": one.sha256},
            "annotations": [
                {
                    "result": [
                        {
                            "from_name": "label",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [one.label]},
                        }
                    ],
                    "lead_time": one.seconds,
                }
            ],
        }
        for file, _, one in labeled(workdir)
    ]
    files.write(out, (json.dumps(tasks, indent=1, ensure_ascii=False) + "\n").encode())
    return len(tasks)


def data_dir(workdir: Path) -> Path:
    """Returns the folder of images of a run."""
    return Path(os.path.expanduser(stored_config.flat(workdir / "config.json")["dataset.data_dir"]))


FORMS: dict[str, Callable[[Path, Path], int]] = {
    "csv": csv,
    "imagefolder": imagefolder,
    "label_studio": label_studio,
}
