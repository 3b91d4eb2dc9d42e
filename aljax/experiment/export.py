"""The labels of a run that people label, in the forms that others read.

The images that judge the models are its "test" split, as those of a test set are.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aljax.config import images_in
from aljax.data.sources import unlabeled
from aljax.errors import InvalidInputError, RunError
from aljax.oracles.label_studio import tasks
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
      InvalidInputError: if the folder is not empty or lies among the images, or one of these has changed.
      RunError: if a file could not be written.
    """
    there = os.listdir(out) if out.is_dir() else [out.name] if out.exists() else []
    if any(not name.startswith(files.PARTIAL) for name in there):
        raise InvalidInputError(f"--out={out}: is there; accepted: a new folder")
    if out.resolve().is_relative_to(folder := data_dir(workdir).resolve()):
        raise InvalidInputError(f"--out={out}: lies among the images of the run; accepted: outside {folder}")
    paths = present(workdir, found := list(labeled(workdir)))
    above = out if out.exists() else out.parent  # what is there may be a disk of its own
    partial = above / f"{files.PARTIAL}{out.name}"
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a command that was killed
        partial.mkdir(parents=True)
        for file, split, one in found:
            place = partial / split / one.label / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(paths[file], place)
        out.mkdir(exist_ok=True)
        for part in sorted(partial.iterdir()):
            part.rename(out / part.name)
        partial.rmdir()
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"{out}: could not be written ({error.strerror})") from error
    return len(found)


def label_studio(workdir: Path, out: Path) -> int:
    """Writes tasks with annotations as Label Studio imports them; returns their number.

    Its labeling interface is that of `oracles.label_studio.tasks`; images are named as its local storage
    serves them.

    Raises:
      InvalidInputError: if an image is no longer there, or lies outside of Label Studio's root.
    """
    folder = data_dir(workdir).resolve()
    root = Path(os.environ.get("LOCAL_FILES_DOCUMENT_ROOT") or folder.parent)
    if not folder.is_relative_to(root.resolve()):
        raise InvalidInputError(f"LOCAL_FILES_DOCUMENT_ROOT={root}: accepted: a folder that {folder} lies in")
    paths = present(workdir, found := list(labeled(workdir)))
    written = [
        {
            "data": {"image": tasks.url(Path(paths[file]), root), "file": file, "sha256": one.sha256}
            | {"cycle": one.cycle, "split": split},
            "annotations": [{"result": [_choice(one.label)], "lead_time": one.seconds}],
        }
        for file, split, one in found
    ]
    files.write(out, (json.dumps(written, indent=1, ensure_ascii=False) + "\n").encode())
    return len(written)


def _choice(label: str) -> dict[str, Any]:
    value = {"choices": [label]}
    return {"from_name": tasks.LABEL, "to_name": "image", "type": "choices", "value": value}


def present(workdir: Path, found: Sequence[Labeled]) -> dict[str, str]:
    """Returns the paths of a run's images by id; raises InvalidInputError if one of `found` has changed."""
    root = data_dir(workdir)
    paths, _ = unlabeled.listed(root)
    for file, _, _ in found:
        if file not in paths:
            raise InvalidInputError(f"{root / file}: no such file; accepted: the folder of images as it was")
    now = unlabeled.hashed([paths[file] for file, _, _ in found])
    for (file, _, answer), image in zip(found, now, strict=True):
        if image.sha256 != answer.sha256:
            raise InvalidInputError(f"{root / file}: has changed since it was labeled; accepted: as it was")
    return paths


def data_dir(workdir: Path) -> Path:
    """Returns the folder of images of a run."""
    flat = stored_config.flat(workdir / "config.json")
    return images_in({name: flat.get(f"dataset.{name}", "") for name in ("source", "data_dir", "images_dir")})


FORMS: dict[str, Callable[[Path, Path], int]] = {
    "csv": csv,
    "imagefolder": imagefolder,
    "label_studio": label_studio,
}
