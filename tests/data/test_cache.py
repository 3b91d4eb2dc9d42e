import json
import os
import resource
import shutil
import signal

import numpy as np
import pytest
from absl import logging

from aljax import data
from aljax.data import images
from aljax.data.rows import Names, Rows
from aljax.errors import InvalidInputError, RunError

PETS = {"image_size": 8, "channels": 3, "skip_unreadable": True}


@pytest.fixture
def logged(monkeypatch):
    """The lines that are logged as warnings."""
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


@pytest.fixture
def pets(folder):
    """The small folder, with a file that cannot be decoded, and a test image that is a training image too."""
    (folder / "train" / "cat" / "a2.png").write_bytes(b"no image")
    shutil.copy(folder / "train" / "cat" / "b.png", folder / "test" / "cat" / "b.png")
    return folder


def load(root, cache="", **fields):
    cache = str(cache) if cache else ""
    return data.load("folder", "pets", data_dir=str(root), cache=cache, **{**PETS, **fields})


def about_of(cache):
    (path,) = cache.glob("pets-*/about.json")
    return path


def same(one, other):
    for a, b in ((one.train, other.train), (one.test, other.test)):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.labels, b.labels)
        assert a.images.dtype == b.images.dtype
        assert a.labels.dtype == b.labels.dtype
        assert tuple(a.ids) == tuple(b.ids)
        assert a.files == b.files
    assert one[2:4] == other[2:4]
    assert data.digest(one) == data.digest(other)
    for a, b in zip(data.dataset.statistics(one), data.dataset.statistics(other), strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype == np.float32


def test_what_is_kept_is_what_a_load_gives_and_nothing_is_decoded_again(pets, tmp_path, logged, monkeypatch):
    expected = load(pets)
    said = list(logged)
    assert len(said) == 2  # of a file left out, and of an image in both splits
    for cache in (tmp_path / "cache",) * 2:
        logged.clear()
        dataset = load(pets, cache)
        same(dataset, expected)
        assert logged == said
        assert isinstance(dataset.train.images, np.memmap)
        assert not list(cache.glob("*/scratch*"))
        monkeypatch.setattr(images, "read", None)
        monkeypatch.setattr(data.dataset, "_digests", None)  # the images are not read again


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("embedded", {"image_size": 8, "channels": 1, "classes": 3, "images": 50}),
        ("unlabeled", {"image_size": 8, "channels": 3, "skip_unreadable": True, "unknown": True}),
    ],
)
def test_every_source_is_kept(pets, tmp_path, source, fields):
    fields["name"] = "digits"
    if source == "unlabeled":
        fields["data_dir"] = str(pets)
    expected = data.load(source, **fields)
    for _ in range(2):
        same(data.load(source, cache=str(tmp_path / "cache"), **fields), expected)


def test_embeddings_stay_in_their_file_whatever_their_splits(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3)).astype(np.float16)
    split = np.where(rng.random(50) < 0.3, "test", "train")
    np.savez(tmp_path / "made.npz", features=features, labels=np.arange(50) % 2, split=split)
    fields = {"data_dir": str(tmp_path / "made.npz"), "image_size": 8, "channels": 3}
    plain = data.load("embeddings", "made", **fields)
    assert isinstance(plain.train.images, Rows)
    assert isinstance(plain.train.images.array, np.memmap)
    assert np.array_equal(plain.train.images[:], features[split == "train"])
    assert np.array_equal(plain.train.images[np.array([3, 1])], features[split == "train"][[3, 1]])
    for _ in range(2):
        kept = data.load("embeddings", "made", cache=str(tmp_path / "cache"), **fields)
        same(kept, plain._replace(train=plain.train._replace(images=plain.train.images[:])))


def test_a_source_that_changed_is_decoded_again(pets, tmp_path, logged, noise, save):
    load(pets, tmp_path)
    save(pets / "train" / "dog" / "1.png", noise(8, 8, 3))
    logged.clear()
    same(load(pets, tmp_path), load(pets))
    assert logged[0].endswith("the files that it was made from have changed; it is made again")
    same(load(pets, tmp_path, channels=1), load(pets, channels=1))  # another request: beside it


def test_a_run_or_a_cache_inside_the_folder_is_no_change(pets, monkeypatch):
    cache = pets / "train" / "cat" / "cache"
    load(pets, cache)
    (pets / "train" / "cat" / "run").mkdir()
    (pets / "train" / "cat" / "run" / "cycles.jsonl").write_text("")
    monkeypatch.setattr(images, "read", None)
    load(pets, cache)


def cut(about):
    path = about.with_name("train.npy")
    os.truncate(path, path.stat().st_size - 1)


def spoil(about):
    path = about.with_name("train.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut": cut,
    "spoiled": spoil,
    "missing": lambda about: about.with_name("test.ids.npy").unlink(),
    "no JSON": lambda about: about.write_text("{"),
    "no object": lambda about: about.write_text("[]"),
    "without facts": lambda about: about.write_text(
        json.dumps({name: value for name, value in json.loads(about.read_text()).items() if name != "facts"})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_made_again_and_said(pets, tmp_path, logged, damage):
    expected = load(pets, tmp_path)
    damage(about_of(tmp_path))
    logged.clear()
    same(load(pets, tmp_path), load(pets))
    assert logged[0].startswith(str(about_of(tmp_path).parent))
    assert logged[0].endswith("; it is made again")
    assert "\n" not in logged[0]
    assert expected.facts.sha256 == data.digest(load(pets))


def test_a_copy_is_as_good(pets, tmp_path, monkeypatch):
    load(pets, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    monkeypatch.setattr(images, "read", None)
    load(pets, tmp_path / "two")


def test_decoding_that_was_stopped_goes_on(tmp_path, save, monkeypatch):
    for row in range(20):
        save(
            tmp_path / "many" / ("test" if row > 15 else "train") / f"{row % 2}" / f"{row:02d}.png",
            np.full((8, 8), row, np.uint8),
        )
    monkeypatch.setattr(images, "CHUNK", (4, 2**22))
    monkeypatch.setattr(images, "KEEP_SECONDS", -1.0)
    monkeypatch.setattr(images.workers, "cores", lambda: 1)
    decoded, read = [], images.read

    def reading(path, request):
        if len(decoded) == 9:
            raise KeyboardInterrupt
        decoded.append(path)
        return read(path, request)

    monkeypatch.setattr(images, "read", reading)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "many", tmp_path / "cache")
    assert len(decoded) == 9
    again = []
    monkeypatch.setattr(images, "read", lambda path, request: again.append(path) or read(path, request))
    kept = load(tmp_path / "many", tmp_path / "cache")
    assert len(again) == 20 - 8  # two chunks of four were noted
    same(kept, load(tmp_path / "many"))


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="limits the size of files")
def test_a_disk_without_room_is_one_line(pets, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        with pytest.raises(
            RunError, match=r"config\.dataset\.cache='.*': .* could not be written \("
        ) as full:
            load(pets, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(full.value)
    same(load(pets, tmp_path / "cache"), load(pets))


def test_embeddings_of_an_encoder_are_kept_by_the_run(pets, tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.cache='.*': accepted without config\.data"
    ):
        load(pets, tmp_path / "cache", reader=lambda *arguments: None)


def test_a_folder_that_cannot_be_made_is_one_line(pets, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "cache", tmp_path / "file"):
        with pytest.raises(InvalidInputError, match=r"config\.dataset\.cache="):
            load(pets, place)


def test_names_are_texts_like_others():
    names = Names(np.array([name.encode() for name in ("a", "größer", "a/b c.png")]))
    assert (len(names), names[1], names[np.int64(0)], names[1:]) == (
        3,
        "größer",
        "a",
        ("größer", "a/b c.png"),
    )
    assert list(names) == ["a", "größer", "a/b c.png"]
