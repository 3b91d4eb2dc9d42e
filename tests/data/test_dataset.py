import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aljax.data import dataset as data
from aljax.errors import InvalidInputError
from tests.harness import config_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHARED = Path(__file__).parents[3] / "shared" / "cifar10.py"


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "train" / "cat" / "b.png", noise(8, 8, 3))
    save(tmp_path / "train" / "cat" / "a.PNG", noise(8, 8))
    save(tmp_path / "train" / "dog" / "0.jpg", noise(20, 12, 3))
    save(tmp_path / "test" / "cat" / "0.png", noise(8, 8, 4))
    save(tmp_path / "test" / "dog" / "0.jpeg", noise(6, 6))
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def load_folder(path, channels=3):
    return data.load("folder", "pets", data_dir=str(path), image_size=8, channels=channels)


def test_digits():
    digits = data.load("embedded", "digits", image_size=8, channels=1)
    assert digits.train.images.shape == (1300, 8, 8, 1)
    assert digits.test.images.shape == (497, 8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.train.images.max() == 255
    ids = digits.train.ids + digits.test.ids
    assert len(set(ids)) == 1797
    assert np.all(np.bincount(digits.train.labels) >= 125)


def test_a_part_of_a_data_set():
    whole = data.load("embedded", "digits", image_size=8, channels=1)
    part = data.load("embedded", "digits", image_size=8, channels=1, classes=4, images=100)
    assert part.class_names == tuple("0123")
    assert len(part.train.labels) == 100
    assert set(part.train.labels) == set(part.test.labels) == {0, 1, 2, 3}
    assert len(part.test.labels) == np.sum(whole.test.labels < 4)
    place = {name: row for row, name in enumerate(whole.train.ids)}
    rows = [place[name] for name in part.train.ids]
    assert rows == sorted(rows)
    assert np.array_equal(part.train.images, whole.train.images[rows])
    assert np.array_equal(part.train.labels, whole.train.labels[rows])
    more = data.load("embedded", "digits", image_size=8, channels=1, classes=4, images=200)
    assert set(part.train.ids) < set(more.train.ids)
    for field, number, accepted in (("classes", 11, "0 or 2 to 10"), ("images", 1301, "0 to 1300")):
        with pytest.raises(
            InvalidInputError, match=rf"config\.dataset\.{field}={number}: accepted: {accepted}"
        ):
            data.load("embedded", "digits", image_size=8, channels=1, **{field: number})


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = data.load("embedded", "digits", image_size=8, channels=1)
    row = int(digits.train.ids[700].split("-")[1])
    original = load_digits()
    assert np.abs(digits.train.images[700, ..., 0] * (16 / 255) - original.images[row]).max() < 0.05
    assert digits.train.labels[700] == original.target[row]


def test_folder(folder):
    pets = load_folder(folder)
    assert pets.class_names == ("cat", "dog")
    assert pets.train.ids == ("train/cat/a.PNG", "train/cat/b.png", "train/dog/0.jpg")
    assert list(pets.train.labels) == [0, 0, 1]
    assert pets.train.images.shape == (3, 8, 8, 3)
    assert pets.train.images.dtype == np.uint8
    assert np.array_equal(pets.train.images[1], noise(8, 8, 3))
    assert np.array_equal(pets.train.images[0], np.repeat(noise(8, 8)[..., None], 3, axis=-1))
    assert load_folder(folder, channels=1).test.images.shape == (2, 8, 8, 1)


def test_a_turned_photograph_is_turned_back(folder):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255  # the top row is white
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to see it right"
    save(folder / "train" / "dog" / "0.png", pixels, exif=exif)
    image = load_folder(folder).train.images[3]
    assert image[:, -1].min() == 255
    assert image[:, 0].max() == 0


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def bomb(path):
    Image.new("1", (9000, 8000)).save(path)


def sixteen_bits(path):
    Image.fromarray(noise(8, 8).astype(np.uint16) * 257).save(path)


DAMAGE = {
    "truncated": (lambda root: cut(root / "train/dog/0.jpg"), "0.jpg: not a readable image"),
    "truncated png": (lambda root: cut(root / "train/cat/b.png"), "b.png: not a readable image"),
    "empty": (lambda root: (root / "train/cat/b.png").write_bytes(b""), "b.png: not a readable image"),
    "text": (lambda root: (root / "train/cat/b.png").write_text("hello"), "b.png: not a readable image"),
    "bomb": (lambda root: bomb(root / "train/cat/c.png"), "9000 x 8000 pixels; accepted: at most 64,000,000"),
    "16 bits": (lambda root: sixteen_bits(root / "train/cat/c.png"), "accepted: 8 bits per channel"),
    "no images": (lambda root: (root / "train/dog/0.jpg").unlink(), "dog: holds no images"),
    "other classes": (
        lambda root: save(root / "test/cow/0.png", noise(8, 8)),
        "class folders of train/ and test/ differ in cow",
    ),
    "no test": (lambda root: (root / "test").rename(root / "exam"), "test: no such folder"),
    "no classes": (
        lambda root: [path.rename(root / path.name) for path in (root / "test").iterdir()],
        "test: holds no class folders",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_folders_are_refused_in_one_line(folder, case):
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(InvalidInputError) as refusal:
        load_folder(folder)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_an_altered_image_is_read_or_refused(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz")
    suffix = data.draw(st.sampled_from(["png", "jpg"]))
    path = root / "train" / "cat" / f"0.{suffix}"
    save(path, noise(8, 8, 3))
    for other in ("test/cat", "train/dog", "test/dog"):
        save(root / other / "0.png", noise(8, 8, 3))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InvalidInputError):
        assert load_folder(root).train.images.shape == (2, 8, 8, 3)


@pytest.mark.parametrize(("labels", "seen"), [([0, 1, 2], "0 to 2"), ([-1, 0, 1], "-1 to 1")])
def test_labels_out_of_range_are_refused(monkeypatch, labels, seen):
    split = data.Split(noise(3, 8, 8, 1), np.array(labels, np.int32), ("a", "b", "c"))
    broken = data.Dataset(split, split, ("cat", "dog"))
    monkeypatch.setitem(data.SOURCES, "folder", lambda *_: broken)
    with pytest.raises(
        InvalidInputError, match=f"labels of its train split run from {seen}; accepted: 0 to 1"
    ):
        load_folder(Path("anywhere"))


@pytest.mark.parametrize("data_dir", ["", "no/such"])
def test_a_folder_that_does_not_exist(data_dir):
    with pytest.raises(
        InvalidInputError, match=f"config.dataset.data_dir='{data_dir}': accepted: a folder that exists"
    ):
        data.load("folder", "pets", data_dir=data_dir, image_size=8, channels=3)


def test_one_class_alone_is_refused(folder):
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "dog")
    with pytest.raises(InvalidInputError, match="has one class alone; accepted: at least 2"):
        load_folder(folder)


def test_the_digest_tells_any_change(folder):
    before = data.digest(load_folder(folder))
    assert data.digest(load_folder(folder)) == before
    (folder / "train/cat/b.png").rename(folder / "train/cat/c.png")
    renamed = data.digest(load_folder(folder))
    save(folder / "train/cat/c.png", noise(8, 8, 3)[::-1])
    assert len({before, renamed, data.digest(load_folder(folder))}) == 3


def test_channel_statistics():
    images = noise(50, 8, 8, 3).copy()
    images[..., 2] = 9
    mean, std = data.channel_statistics(images)
    assert mean == pytest.approx(images.mean((0, 1, 2)), rel=1e-5)
    assert std == pytest.approx([*images[..., :2].std((0, 1, 2)), 1], rel=1e-5)


# TensorFlow Datasets. Preparing imports TensorFlow, so it is done in a process of its own.

BUILDER = '''
import numpy as np
import tensorflow_datasets as tfds

class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """{count} images of {size} pixels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {{"image": tfds.features.Image(shape=({size}, {size}, {channels})),
                    "label": tfds.features.ClassLabel(names=["round", "square"])}}
        if {with_id}:
            features["id"] = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        if {offline}:
            tfds.core.download.downloader.MAX_RETRIES = 0  # ten of them take minutes
            dl_manager.download("http://127.0.0.1:9/shapes.zip")
        return {{"train": self._generate_examples(12), "test": self._generate_examples(5)}}

    def _generate_examples(self, count):
        for i in range(count):
            example = {{"image": np.full(({size}, {size}, {channels}), i, np.uint8), "label": i % 2}}
            if {with_id}:
                example["id"] = f"shape-{{i:02d}}"
            yield i, example
'''

LOAD = """
import sys
from aljax import data
name, data_dir, image_size, channels = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
dataset = data.load("tfds", name, data_dir=data_dir, image_size=image_size, channels=channels)
print("RESULT", dataset.train.images.shape, dataset.train.images[:, 0, 0, 0].tolist()[:12],
      dataset.train.labels.tolist()[:12], dataset.train.ids[0], dataset.class_names[0],
      "tensorflow" in sys.modules)
"""


def run_python(*arguments, cwd=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


def write_builder(folder, channels=3, with_id=True, offline=False):
    """A data set of our own, where tfds finds it, and a program that loads it."""
    package = folder / "tiny_shapes"
    package.mkdir()
    (package / "__init__.py").touch()
    code = BUILDER.format(count=17, size=8, channels=channels, with_id=with_id, offline=offline)
    (package / "tiny_shapes.py").write_text(code)
    (folder / "main.py").write_text("import tiny_shapes.tiny_shapes\n" + LOAD)


def test_a_failed_download_is_told_in_one_line(tmp_path):
    write_builder(tmp_path, offline=True)
    run = run_python(str(tmp_path / "main.py"), "tiny_shapes", str(tmp_path / "data"), "8", "3")
    last = run.stderr.strip().splitlines()[-1]
    assert "config.dataset.name='tiny_shapes': could not be downloaded and prepared (" in last


def test_a_data_set_in_another_file_format_is_told_from_an_unknown_one(tmp_path):
    write_builder(tmp_path)
    prepare = "import tiny_shapes.tiny_shapes, tensorflow_datasets as tfds\n"
    prepare += "tfds.builder('tiny_shapes', data_dir='data').download_and_prepare()"
    (tmp_path / "prepare.py").write_text(prepare)
    assert run_python("prepare.py", cwd=tmp_path).returncode == 0
    run = run_python("main.py", "tiny_shapes", "data", "8", "3", cwd=tmp_path)
    last = run.stderr.strip().splitlines()[-1]
    assert "config.dataset.data_dir='data': holds tiny_shapes in another file format" in last


@pytest.mark.parametrize(("with_id", "image_size", "channels"), [(True, 8, 1), (False, 12, 3)])
def test_tfds_prepares_once_and_reads_without_tensorflow(tmp_path, with_id, image_size, channels):
    write_builder(tmp_path, channels=channels, with_id=with_id)
    arguments = ("tiny_shapes", str(tmp_path / "data"), str(image_size), str(channels))
    runs = [run_python(str(tmp_path / "main.py"), *arguments) for _ in range(2)]
    lines = [(run.stdout.partition("RESULT")[2].strip() or run.stderr) for run in runs]
    assert lines[0].endswith("True")  # TensorFlow prepared it
    assert lines[1].endswith("False")  # and was not needed again
    assert lines[0].rsplit(" ", 1)[0] == lines[1].rsplit(" ", 1)[0]
    assert f"(12, {image_size}, {image_size}, {channels})" in lines[1]
    if with_id:
        assert (
            "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1] shape-00" in lines[1]
        )


SMALL_SETS = """
import sys
import numpy as np
import tensorflow_datasets as tfds

def examples(features, count):
    for i in range(count):
        values = {tfds.features.Image: lambda f: np.full(f.shape, i, np.uint8),
                  tfds.features.ClassLabel: lambda f: i % f.num_classes,
                  tfds.features.Text: lambda f: f"image_{i:03d}"}
        yield i, {name: values[type(feature)](feature) for name, feature in features.items()}

for name in sys.argv[2:]:
    builder = tfds.builder(name, data_dir=sys.argv[1], file_format="array_record")
    features = builder.info.features
    type(builder)._split_generators = lambda self, manager: {
        "train": examples(features, 24), "test": examples(features, 12)}
    builder.download_and_prepare()
"""


def test_the_configs_of_other_data_sets_load_what_tfds_prepares(tmp_path):
    """Small sets with the builders and the features of the real ones."""
    configs = {name: config_of(name) for name in ("cifar100", "svhn", "fashion_mnist")}
    names = [config["dataset"]["name"] for config in configs.values()]
    made = run_python("-c", SMALL_SETS, str(tmp_path), *names)
    assert made.returncode == 0, made.stderr
    for name, shape, classes in [
        ("cifar100", (32, 32, 3), 100),
        ("svhn", (32, 32, 3), 10),
        ("fashion_mnist", (28, 28, 1), 10),
    ]:
        dataset = data.load(**{**configs[name]["dataset"], "data_dir": str(tmp_path)})
        assert dataset.train.images.shape == (24, *shape)
        grey = dataset.train.images[:, 0, 0, 0]
        assert sorted(grey) == list(range(24))  # in the order of their ids, where there are ids
        assert np.array_equal(dataset.train.labels, grey % classes)
        assert len(dataset.class_names) == classes


def test_a_name_that_tfds_does_not_know():
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.name='no_such_set': .*accepted"
    ) as refusal:
        data.load("tfds", "no_such_set", image_size=8, channels=3)
    assert "\n" not in str(refusal.value)


# CIFAR-10 (JPEG 75) as both kinds of source.

needs_cifar = pytest.mark.skipif(not SHARED.exists(), reason="../shared/cifar10.py is not here")


@pytest.mark.cifar
@needs_cifar
def test_cifar10_is_the_same_from_tfds_and_from_a_folder(tmp_path):
    for form in ("folder", "tfds"):
        made = run_python(str(SHARED), form, str(tmp_path / form))
        assert made.returncode == 0, made.stderr
    read = run_python("-c", LOAD, "cifar10", str(tmp_path / "tfds"), "32", "3")
    assert "RESULT (50000, 32, 32, 3)" in read.stdout, read.stderr
    assert "train_00000 airplane False" in read.stdout
    options = {"image_size": 32, "channels": 3}
    a = data.load("tfds", "cifar10", data_dir=str(tmp_path / "tfds"), **options)
    b = data.load("folder", "cifar10", data_dir=str(tmp_path / "folder"), **options)
    assert a.class_names == b.class_names
    for split, size in (("train", 50_000), ("test", 10_000)):
        seen = []
        for dataset in (a, b):
            images, labels, ids = getattr(dataset, split)
            assert images.shape == (size, 32, 32, 3)
            assert len(set(ids)) == size
            assert np.all(np.bincount(labels) == size // 10)
            seen.append(sorted((label, image.tobytes()) for label, image in zip(labels, images, strict=True)))
        assert seen[0] == seen[1]
