import contextlib
import os
import shutil
import tracemalloc
import unicodedata

import numpy as np
import pytest
from absl import logging
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import data
from aljax.data import images
from aljax.data.sources import folder as folders
from aljax.errors import InvalidInputError


def load(path, channels=3, **fields):
    return data.load("folder", "pets", data_dir=str(path), image_size=8, channels=channels, **fields)


@pytest.fixture
def logged(monkeypatch):
    """The lines that are logged as warnings."""
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_a_folder(folder, noise):
    pets = load(folder)
    assert pets.class_names == ("cat", "dog")
    assert pets.train.ids == ("train/cat/a.PNG", "train/cat/b.png", "train/dog/0.jpg")
    assert list(pets.train.labels) == [0, 0, 1]
    assert pets.train.labels.dtype == np.int32
    assert pets.train.images.shape == (3, 8, 8, 3)
    assert pets.train.images.dtype == np.uint8
    assert np.array_equal(pets.train.images[1], noise(8, 8, 3))
    assert np.array_equal(pets.train.images[0], np.repeat(noise(8, 8)[..., None], 3, axis=-1))
    assert load(folder, channels=1).test.images.shape == (2, 8, 8, 1)


def test_classes_are_in_natural_order_and_images_at_all_depths(tmp_path, save, noise):
    for split in ("train", "test"):
        for name in ("class10", "class2", "Class1"):
            save(tmp_path / split / name / f"{split}.png", noise(8, 8))
    for place in ("10.png", "9.png", "deep/er/1.png"):
        save(tmp_path / "train" / "class2" / place, noise(8, 8))
    pets = load(tmp_path)
    assert pets.class_names == ("Class1", "class2", "class10")
    assert pets.train.ids == (
        "train/Class1/train.png",
        "train/class2/9.png",
        "train/class2/10.png",
        "train/class2/deep/er/1.png",
        "train/class2/train.png",
        "train/class10/train.png",
    )
    assert list(pets.train.labels) == [0, 1, 1, 1, 1, 2]


def test_what_is_left_out_is_listed_and_counted(folder, save, noise, logged):
    (folder / "train/.DS_Store").touch()
    (folder / "train/readme.md").touch()
    (folder / "train/cat/movie.mp4").touch()
    (folder / "test/dog/Thumbs.db").touch()
    save(folder / "train/dog/.hidden.png", noise(8, 8))
    save(folder / "train/dog/.thumbnails/1.png", noise(8, 8))
    (folder / "train/dog/again").symlink_to(folder / "train/dog")
    assert set(load(folder).left_out) == {
        ("train/.DS_Store", "hidden"),
        ("train/readme.md", "in no class folder"),
        ("train/cat/movie.mp4", "not an image"),
        ("train/cat/notes.txt", "not an image"),
        ("test/dog/Thumbs.db", "not an image"),
        ("train/dog/.hidden.png", "hidden"),
        ("train/dog/.thumbnails", "hidden"),
        ("train/dog/again", "a link to a folder that it lies in"),
    }
    assert logged == [
        "8 files are left out of the data set: 3 hidden, 3 not an image, "
        "1 a link to a folder that it lies in, 1 in no class folder"
    ]


def test_links_are_followed(folder, tmp_path, save, noise):
    save(tmp_path / "elsewhere" / "2.png", noise(8, 8))
    (folder / "train/dog/more").symlink_to(tmp_path / "elsewhere")
    (folder / "train/dog/one.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    assert load(folder).train.ids[2:] == ("train/dog/0.jpg", "train/dog/more/2.png", "train/dog/one.png")


DAMAGE = {
    "truncated": ("train/dog/0.jpg", lambda path: path.write_bytes(path.read_bytes()[:60])),
    "truncated png": ("train/cat/b.png", lambda path: path.write_bytes(path.read_bytes()[:60])),
    "empty": ("train/cat/b.png", lambda path: path.write_bytes(b"")),
    "text": ("train/cat/b.png", lambda path: path.write_text("hello")),
    "a link to nothing": ("train/cat/c.png", lambda path: path.symlink_to("absent.png")),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_file_that_cannot_be_read_is_refused_or_left_out(folder, save, noise, logged, case):
    save(folder / "train/dog/1.png", noise(8, 8))
    name, damage = DAMAGE[case]
    whole = load(folder)
    damage(folder / name)
    with pytest.raises(InvalidInputError) as refusal:
        load(folder)
    assert f": 1 of {6 + (case == 'a link to nothing')} images cannot be read: {name} (" in str(refusal.value)
    assert "config.dataset.skip_unreadable=True" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    logged.clear()
    pets = load(folder, skip_unreadable=True)
    rows = [row for row, id in enumerate(whole.train.ids) if id != name]
    assert pets.train.ids == tuple(whole.train.ids[row] for row in rows)
    assert np.array_equal(pets.train.images, whole.train.images[rows])
    assert np.array_equal(pets.train.labels, whole.train.labels[rows])
    assert [file for file, reason in pets.left_out if reason.startswith("unreadable: ")] == [name]
    assert logged == ["2 files are left out of the data set: 1 not an image, 1 unreadable"]


def test_all_files_that_cannot_be_read_are_refused_together(folder):
    for row in range(30):
        (folder / f"{'train' if row % 2 else 'test'}/dog/{row}.gif").write_bytes(b"GIF89a")
    with pytest.raises(InvalidInputError) as refusal:
        load(folder)
    message = str(refusal.value)
    assert ": 30 of 35 images cannot be read: train/dog/1.gif (" in message
    assert message.count(".gif (") == 3
    assert " and 27 more; accepted: " in message


def moved_up(root):
    for path in [*(root / "test").iterdir()]:
        path.rename(root / path.name)


REFUSED = {
    "no images": (lambda root: (root / "train/dog/0.jpg").unlink(), "train/dog: holds no images"),
    "other classes": (
        lambda root: shutil.copytree(root / "test/cat", root / "test/cow"),
        "class folders of train/ and test/ differ in cow",
    ),
    "no test": (lambda root: (root / "test").rename(root / "exam"), "test: no such folder"),
    "no classes": (moved_up, "test: holds no class folders"),
    "one class": (
        lambda root: [shutil.rmtree(root / split / "dog") for split in ("train", "test")],
        "has one class alone; accepted: at least 2",
    ),
    "one name twice": (
        lambda root: [
            shutil.copy(root / "train/dog/0.jpg", root / "train/dog" / name)
            for name in ("\u00e9.jpg", "e\u0301.jpg")
        ],
        "two files are named 'train/dog/\u00e9.jpg' once normalized",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_folders_are_refused_in_one_line(folder, case):
    change, message = REFUSED[case]
    change(folder)
    with pytest.raises(InvalidInputError) as refusal:
        load(folder)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("data_dir", ["", "no/such"])
def test_a_folder_that_does_not_exist(data_dir):
    with pytest.raises(InvalidInputError, match=f"data_dir='{data_dir}': accepted: a folder that exists"):
        load(data_dir)


def test_a_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load("~/pets").train.ids == load(folder).train.ids


@pytest.mark.parametrize("test_split", ["train", "./train/", "train/cat", "same", "."])
def test_the_same_images_to_train_and_to_test_are_refused(folder, test_split):
    (folder / "same").symlink_to("train")
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.test_split=.*: is config\.dataset\.train_split"
    ):
        load(folder, test_split=test_split)


def test_permission_denied(folder, monkeypatch):
    listed = os.scandir

    def scandir(place):
        if str(place).endswith("dog"):
            raise PermissionError(13, "Permission denied", place)
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        InvalidInputError, match=r"train/dog: Permission denied; accepted: a folder that can be read"
    ):
        load(folder)


def test_a_file_without_permission_is_one_that_cannot_be_read(folder, monkeypatch):
    def forbidden(path, **_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("PIL.Image.open", forbidden)
    with pytest.raises(InvalidInputError, match=r"5 of 5 .*: train/cat/a\.PNG \(Permission denied\), "):
        load(folder)


def test_names_of_any_kind(tmp_path, save, noise):
    """The same letters in other code points are the same class; bytes that are not UTF-8 are escaped."""
    for split, form in (("train", "NFC"), ("test", "NFD")):
        for name in ("pâté", "고양이"):
            save(tmp_path / split / unicodedata.normalize(form, name) / "1.png", noise(8, 8))
    try:
        os.rename(
            tmp_path / "train" / "pâté" / "1.png",
            os.fsencode(tmp_path / "train" / "pâté") + b"/caf\xe9\n.png",
        )
    except OSError:
        pytest.skip("this file system takes no name that is not UTF-8")
    pets = load(tmp_path)
    assert pets.class_names == ("pâté", "고양이")
    assert pets.train.ids == ("train/pâté/caf\\xe9\\n.png", "train/고양이/1.png")
    assert pets.test.ids == ("test/pâté/1.png", "test/고양이/1.png")
    assert len(data.digest(pets)) == 64


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_an_altered_image_is_read_or_refused(tmp_path_factory, save, noise, data):
    root = tmp_path_factory.mktemp("fuzz")
    suffix = data.draw(st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "tga"]))
    path = root / "train" / "cat" / f"0.{suffix}"
    save(path, noise(8, 8, 3))
    for other in ("test/cat", "train/dog", "test/dog"):
        save(root / other / "0.png", noise(8, 8, 3))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InvalidInputError):
        assert load(root).train.images.shape == (2, 8, 8, 3)
    assert len(load(root, skip_unreadable=True).test.images) == 2


def test_the_digest_shows_any_change(folder, save, noise):
    before = data.digest(load(folder))
    assert data.digest(load(folder)) == before
    (folder / "train/cat/b.png").rename(folder / "train/cat/c.png")
    renamed = data.digest(load(folder))
    save(folder / "train/cat/c.png", noise(8, 8, 3)[::-1])
    assert len({before, renamed, data.digest(load(folder))}) == 3


@pytest.mark.parametrize("skip", [False, True])
def test_loading_takes_little_more_memory_than_the_images(tmp_path, save, monkeypatch, skip):
    rng = np.random.default_rng(0)
    for split, count in (("train", 800), ("test", 200)):
        for name in ("cat", "dog"):
            for row in range(count // 2):
                path = tmp_path / split / name / f"{row}.png"
                if row < 20:
                    save(path, rng.integers(0, 256, (64, 64, 3), np.uint8), compress_level=1)
                else:
                    path.hardlink_to(path.with_name(f"{row % 20}.png"))
    if skip:
        (tmp_path / "train" / "cat" / "5.bmp").write_bytes(b"BM")
    monkeypatch.setattr(images, "CHUNK", (16, 2**22))
    tracemalloc.start()
    try:
        pets = data.load(
            "folder", "pets", data_dir=str(tmp_path), image_size=64, channels=3, skip_unreadable=skip
        )
        data.digest(pets)
        data.channel_statistics(pets.train.images)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pets.train.labels) == 800
    assert peak < 1.3 * (pets.train.images.nbytes + pets.test.images.nbytes)


def test_a_listing_has_the_path_of_every_id(folder):
    files, left_out = folders.listed(folder, "train")
    assert {name: list(paths) for name, paths in files.items()} == {
        "cat": ["train/cat/a.PNG", "train/cat/b.png"],
        "dog": ["train/dog/0.jpg"],
    }
    assert files["cat"]["train/cat/a.PNG"] == str(folder / "train/cat/a.PNG")
    assert left_out == [("train/cat/notes.txt", "not an image")]


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    assert list(folders.walk(str(tmp_path))) == [(str(tmp_path / "1.png"), "neither a file nor a folder")]
