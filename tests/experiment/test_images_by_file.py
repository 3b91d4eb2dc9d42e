"""A run on a folder of images: what it says of their files."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from aljax import data
from aljax.errors import InvalidInputError
from aljax.experiment import loop as experiment
from aljax.records import chosen, files, selections, verify
from tests.harness import small


def config_of(pictures, skip=True):
    dataset = {"source": "folder", "data_dir": str(pictures), "skip_unreadable": skip}
    return small(trials=1, **{f"dataset.{name}": value for name, value in dataset.items()})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The digits as files (what is compiled is what other tests compile), and three files beside them."""
    root = tmp_path_factory.mktemp("pictures")
    digits = data.load("embedded", "digits", image_size=8, channels=1)
    for name, split in (("train", digits.train), ("test", digits.test)):
        for image, label, id in zip(split.images, split.labels, split.ids, strict=True):
            path = root / name / str(label) / f"{id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze()).save(path)
    (root / "train" / "3" / "notes.txt").touch()
    (root / "train" / "3" / "empty.jpg").touch()
    (root / "test" / "7" / ".DS_Store").touch()
    return root


@pytest.fixture(scope="module")
def workdir(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "whole"
    experiment.run(config_of(pictures), path)
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files_that_were_left_out_are_listed(workdir):
    assert rows_of(workdir / "left_out.csv") == [
        {"file": "train/3/notes.txt", "reason": "not an image"},
        {"file": "test/7/.DS_Store", "reason": "hidden"},
        {"file": "train/3/empty.jpg", "reason": "unreadable: not of a format that Pillow reads"},
    ]


def test_the_files_that_were_chosen_are_listed(workdir, pictures):
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.glob("train/*/*.png"))
    for cycle, columns in (
        (1, ["random (uncertainty)", "random (diversity)"]),
        (2, ["learning_loss", "core_set"]),
    ):
        rows = rows_of(chosen.path_of(workdir, 0, cycle))
        stored = selections.load(selections.path_of(workdir, 0, cycle))
        assert list(rows[0]) == ["file", "rank", "score", *columns]
        for column, batch in zip(
            ["rank", *columns], (stored.acquired, stored.uncertainty, stored.diversity), strict=True
        ):
            by_rank = {int(row[column]): row["file"] for row in rows if row[column]}
            assert [by_rank[rank] for rank in range(1, 21)] == [names[image] for image in batch]
        if cycle == 2:
            scores = {row["file"]: np.float32(row["score"]) for row in rows}
            place = {names[image]: score for image, score in zip(stored.subset, stored.scores, strict=True)}
            assert scores == {name: place[name] for name in scores}
    assert list(verify.problems(workdir)) == []


def test_the_lists_are_written_again_to_the_byte(workdir, pictures, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    shutil.rmtree(again / "chosen")
    lines = files.read_lines(again / "cycles.jsonl")[0]
    files.write(again / "cycles.jsonl", b"".join(map(files.encoded, lines[:2])))
    experiment.run(config_of(pictures), again)
    for cycle in (1, 2, 3):
        path = chosen.path_of(workdir, 0, cycle)
        assert (again / path.relative_to(workdir)).read_bytes() == path.read_bytes()


def test_files_that_cannot_be_read_are_refused_unless_they_may_be_skipped(pictures, tmp_path):
    config = config_of(pictures, skip=False)
    with pytest.raises(InvalidInputError, match=r"1 of 1,798 images cannot be read: train/3/empty\.jpg \("):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "left_out.csv").exists()
