"""A folder of images of which only some are labeled."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from aljax import data
from aljax.data.sources import unlabeled
from aljax.errors import InvalidInputError


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with images at several depths, two of them labeled by their folders."""
    names = ("10.png", "9.png", "trip/a.jpg", "train/cat/1.png", "test/dog/2.png", "train/loose.png")
    for number, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (40 * number, 0, 0)).save(path)
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    run = tmp_path / "photos" / "runs" / "label"
    run.mkdir(parents=True)
    (run / "cycles.jsonl").touch()
    Image.new("RGB", (4, 4)).save(run / "figure.png")
    return tmp_path / "photos"


def load(folder, unknown=True, **fields):
    settings = {"class_names": ("cat", "dog"), "skip_unreadable": True, **fields}
    return data.load(
        "unlabeled", "any", image_size=8, channels=3, data_dir=str(folder), unknown=unknown, **settings
    )


def test_images_at_any_depth_are_found_and_some_have_labels(folder):
    found = load(folder)
    assert found.train.ids == ("9.png", "10.png", "train/cat/1.png", "train/loose.png", "trip/a.jpg")
    assert found.train.labels.tolist() == [-1, -1, 0, -1, -1]
    assert (found.test.ids, found.test.labels.tolist()) == (("test/dog/2.png",), [1])
    assert found.class_names == ("cat", "dog")
    assert found.train.images.shape == (5, 8, 8, 3)
    for id, file in zip(found.train.ids, found.train.files, strict=True):
        assert file.path == str(folder / id)
        assert file.sha256 == hashlib.sha256((folder / id).read_bytes()).hexdigest()
    assert {(one.file, one.reason.partition(":")[0]) for one in found.left_out} == {
        ("notes.txt", "not an image"),
        ("broken.png", "unreadable"),
        ("runs/label", "a run directory"),
    }


@pytest.mark.parametrize(
    "table",
    [
        "file,label,split\n9.png,dog,\n./trip/a.jpg,cat,test\n10.png,,\n",
        "split;label;file\r\n;dog;9.png\r\ntest;cat;trip\\a.jpg\r\n",
        '{"file": "9.png", "label": "dog"}\n{"file": "trip/a.jpg", "label": "cat", "split": "test"}\n',
    ],
)
def test_a_file_of_labels_labels_more(folder, tmp_path, table):
    path = tmp_path / "labels"
    path.write_text(table)
    found = load(folder, labels=str(path))
    assert dict(zip(found.train.ids, found.train.labels.tolist(), strict=True)) == {
        "9.png": 1,
        "10.png": -1,
        "train/cat/1.png": 0,
        "train/loose.png": -1,
    }
    assert dict(zip(found.test.ids, found.test.labels.tolist(), strict=True)) == {
        "test/dog/2.png": 1,
        "trip/a.jpg": 0,
    }


def test_a_study_has_the_labeled_images_alone(folder):
    found = load(folder, unknown=False)
    assert found.train.ids == ("train/cat/1.png",)
    assert found.train.labels.tolist() == [0]
    assert np.count_nonzero([one.reason == "without a label" for one in found.left_out]) == 4


def test_classes_are_those_of_the_labels_unless_they_are_named(folder):
    assert load(folder, class_names=()).class_names == ("cat", "dog")
    assert load(folder, class_names=("dog", "bird", "cat")).train.labels.tolist() == [-1, -1, 2, -1, -1]


def test_files_of_labels_that_are_gone_are_named_in_a_warning(folder, tmp_path, caplog):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\ngone.png,cat\n9.png,dog\n")
    load(folder, labels=str(path))
    assert "1 of its 2 files are not there: gone.png" in caplog.text


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (
            "file,label\n9.png,Cat\n10.png,bird\n",
            r"labels\.csv:2: label 'Cat': did you mean 'cat'\?; .*, and 1 more",
        ),
        (
            "file,label,split\n9.png,cat,valid\n",
            r"labels\.csv:2: split 'valid'; accepted: train, test, or none",
        ),
        ("name,label\n9.png,cat\n", r"has no column 'file'; accepted: a CSV or JSONL file"),
        (
            "file,label\n9.png,cat\n.\\9.png,dog\n",
            r"labels\.csv:3: file '9\.png' has another label or split in line 2; accepted: one of each",
        ),
    ],
)
def test_a_wrong_file_of_labels_is_refused(folder, tmp_path, table, reason):
    path = tmp_path / "labels.csv"
    path.write_text(table)
    with pytest.raises(InvalidInputError, match=reason):
        load(folder, labels=str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_pipe_of_labels_is_not_waited_for(folder, tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InvalidInputError, match=r"labels='.*labels\.csv': is not a regular file; accepted"):
        load(folder, labels=str(tmp_path / "labels.csv"))


def test_names_of_classes_are_compared_as_normalized(folder, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\n9.png,e\u0301t\u00e9\n")
    found = load(folder, labels=str(path), class_names=("\u00e9te\u0301", "cat"))
    assert found.class_names == ("\u00e9t\u00e9", "cat")
    assert found.train.labels[found.train.ids.index("9.png")] == 0
    with pytest.raises(
        InvalidInputError, match=r"class_names=.*: accepted: names that differ in more than capital letters"
    ):
        load(folder, class_names=("\u00e9", "e\u0301"))


def test_unreadable_images_are_refused_unless_they_may_be_left_out(folder):
    with pytest.raises(InvalidInputError, match=r"1 of 7 images cannot be read: broken\.png"):
        load(folder, skip_unreadable=False)


def test_a_file_is_hashed_once_and_anew_when_it_has_changed(tmp_path, monkeypatch):
    path, read = tmp_path / "a.png", []
    path.write_bytes(b"one")

    def counted(file, name, digest=hashlib.file_digest):
        read.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    first, again = (unlabeled.hashed([str(path)])[0] for _ in range(2))
    assert first == again
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert unlabeled.hashed([str(path)])[0].sha256 == hashlib.sha256(b"two").hexdigest()
