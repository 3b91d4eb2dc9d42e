"""Preparing a data set imports TensorFlow, so it is done in processes of their own."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from aljax import data
from aljax.data.sources import tfds
from aljax.data.sources.base import Request
from aljax.errors import InvalidInputError
from tests.harness import ROOT, config_of

SHARED = ROOT.parent / "shared" / "cifar10.py"

BUILDER = '''
import numpy as np
import tensorflow_datasets as tfds

class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """17 images of 8 pixels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(8, 8, {channels}), dtype=np.{dtype})
        features = {{"image": image, "label": tfds.features.ClassLabel(names=["round", "square"])}}
        if {id} is not None:
            features["id"] = {id}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        if {offline}:
            tfds.core.download.downloader.MAX_RETRIES = 0  # ten of them take minutes
            dl_manager.download("http://127.0.0.1:9/shapes.zip")
        return {{"train": self._generate_examples(12), "test": self._generate_examples(5)}}

    def _generate_examples(self, count):
        for i in range(count):
            value = i * 257 if "{dtype}" == "uint16" else i
            example = {{"image": np.full((8, 8, {channels}), value, np.{dtype}), "label": i % 2}}
            if {id} is not None:
                example["id"] = i
            yield i, example
'''

LOAD = """
import sys
from aljax import data
from aljax.errors import InvalidInputError
name, data_dir, image_size, channels, *pairs = sys.argv[1:]
fields = {"data_dir": data_dir, "image_size": int(image_size), "channels": int(channels)}
for pair in pairs or ["train test"]:
    fields["train_split"], fields["test_split"] = pair.split()
    try:
        train, _, class_names, *_ = data.load("tfds", name, **fields)
    except InvalidInputError as error:
        print("RESULT", error)
    else:
        print("RESULT", train.images.shape, train.images[:, 0, 0, 0].tolist()[:12],
              train.labels.tolist()[:12], *train.ids[::11][:2], class_names[0], "tensorflow" in sys.modules)
"""


def run_python(*arguments, cwd=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


def results_of(run):
    lines = run.stdout.splitlines()
    return [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT ")] or [run.stderr]


def write_builder(folder, channels=3, dtype="uint8", id="None", offline=False):
    """Writes a data set of our own, where tfds finds it, and a program that loads it."""
    package = folder / "tiny_shapes"
    package.mkdir()
    (package / "__init__.py").touch()
    code = BUILDER.format(channels=channels, dtype=dtype, id=id, offline=offline)
    (package / "tiny_shapes.py").write_text(code)
    (folder / "main.py").write_text("import tiny_shapes.tiny_shapes\n" + LOAD)


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InvalidInputError) as refusal:
        data.load("tfds", "cifar10", image_size=8, channels=3)
    message = str(refusal.value)
    assert message.startswith("config.dataset.source='tfds': needs packages that are not installed (")
    assert "pip install 'aljax[tfds]'" in message
    assert "pip install -e '.[tfds]'" in message
    assert "\n" not in message


def test_a_name_that_tfds_does_not_know():
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.name='no_such_set': .*accepted"
    ) as refusal:
        data.load("tfds", "no_such_set", image_size=8, channels=3)
    assert "\n" not in str(refusal.value)


def test_a_failed_download_is_refused_in_one_line(tmp_path):
    write_builder(tmp_path, offline=True)
    run = run_python(str(tmp_path / "main.py"), "tiny_shapes", str(tmp_path / "data"), "8", "3")
    (line,) = results_of(run)
    assert line.startswith("config.dataset.name='tiny_shapes': could not be downloaded and prepared (")


def test_a_data_set_in_another_file_format_is_not_an_unknown_one(tmp_path):
    write_builder(tmp_path)
    prepare = "import tiny_shapes.tiny_shapes, tensorflow_datasets as tfds\n"
    prepare += "tfds.builder('tiny_shapes', data_dir='data').download_and_prepare()"
    (tmp_path / "prepare.py").write_text(prepare)
    assert run_python("prepare.py", cwd=tmp_path).returncode == 0
    run = run_python("main.py", "tiny_shapes", "data", "8", "3", cwd=tmp_path)
    assert "config.dataset.data_dir='data': holds tiny_shapes in another file format" in results_of(run)[0]


@pytest.mark.parametrize(
    ("id", "image_size", "channels", "first", "last"),
    [
        ("tfds.features.Scalar(np.int64)", 8, 1, "0", "11"),
        ("None", 12, 3, "train-0000000", "train-0000011"),
    ],
)
def test_tfds_prepares_once_and_reads_without_tensorflow(tmp_path, id, image_size, channels, first, last):
    write_builder(tmp_path, channels=channels, id=id)
    arguments = [
        str(tmp_path / "main.py"),
        "tiny_shapes",
        str(tmp_path / "data"),
        str(image_size),
        str(channels),
    ]
    (prepared,) = results_of(run_python(*arguments))
    pairs = ["train test", "train[:75%] train[50%:]", "train[:50%] train[50%:]", "train exam"]
    read, overlapping, apart, unknown = results_of(run_python(*arguments, *pairs))
    assert prepared.endswith(" True")  # TensorFlow prepared it
    assert read == prepared.removesuffix("True") + "False"  # and was not needed again
    assert f"(12, {image_size}, {image_size}, {channels})" in read
    assert f"{first} {last} round" in read
    if id != "None":  # in the order of their ids
        assert f"{list(range(12))} {[0, 1] * 6} " in read
    assert overlapping.startswith(
        "config.dataset.test_split='train[50%:]': has records of config.dataset.train_"
    )
    assert apart.startswith("(6, ")
    assert unknown.startswith("config.dataset.test_split='exam': ")
    assert unknown.endswith("accepted: of the splits train, test")


def test_what_tfds_decodes_with_other_packages_alone_is_refused_in_one_line(tmp_path):
    write_builder(tmp_path, channels=1, dtype="uint16")
    run = run_python(str(tmp_path / "main.py"), "tiny_shapes", str(tmp_path / "data"), "8", "1")
    (line,) = results_of(run)
    if importlib.util.find_spec("cv2"):
        assert line.startswith("(12, 8, 8, 1)")
    else:
        assert line.startswith("config.dataset.name='tiny_shapes': its records cannot be decoded (")


class Source:
    """Records as tensorflow-datasets hands them out."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitems__(self, rows):
        return [self.records[row] for row in rows]


def split_of(*records):
    """Returns a split of these records."""
    return tfds._split(Source(records), "train", ("image", "label"), Request("tiny", 8, 1))


def record(value, **others):
    return {"image": np.full((8, 8, 1), value), "label": 1, **others}


@pytest.mark.parametrize(
    ("ids", "expected", "order"),
    [
        ((np.int64(10), np.int64(9)), ("9", "10"), [1, 0]),
        ((b"b", b"a"), ("a", "b"), [1, 0]),
        ((b"caf\xe9", b"a"), ("a", "caf\\xe9"), [1, 0]),
        (("x10", "x9"), ("x9", "x10"), [1, 0]),
        ((np.array(b"b"), np.array(b"a")), ("a", "b"), [1, 0]),
        ((7, 7), ("7-0000000", "7-0000001"), [0, 1]),  # of groups, such as patients
        ((2.5, 1.5), ("1.5", "2.5"), [1, 0]),
    ],
)
def test_ids_of_any_type(ids, expected, order):
    split = split_of(*(record(np.uint8(row), id=id) for row, id in enumerate(ids)))
    assert split.ids == expected
    assert list(split.images[:, 0, 0, 0]) == order


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.uint8(200), 200),
        (np.uint16(25_700), 100),
        (np.uint16(65_535), 255),
        (np.float32(0.2), 51),
        (np.float64(1), 255),
        (np.float32(1.01), "pixels of type float32 from 1.01 to 1.01; accepted: 0 to 1"),
        (np.float32(np.nan), "accepted: 0 to 1"),
        (np.int32(-1), "accepted: 0 to 65,535"),
        (np.bool_(True), "pixels of type bool; accepted: integers or floats"),
    ],
)
def test_pixels_are_scaled_or_refused_and_never_wrapped(value, expected):
    if isinstance(expected, str):
        with pytest.raises(InvalidInputError) as refusal:
            split_of(record(value))
        assert str(refusal.value).startswith("config.dataset.name='tiny': train-0000000: ")
        assert expected in str(refusal.value)
    else:
        assert np.all(split_of(record(value)).images == expected)


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


@pytest.mark.cifar
@pytest.mark.skipif(not SHARED.exists(), reason="../shared/cifar10.py is not here")
def test_cifar10_is_the_same_from_tfds_and_from_a_folder(tmp_path):
    """CIFAR-10 (JPEG 75)."""
    for form in ("folder", "tfds"):
        made = run_python(str(SHARED), form, str(tmp_path / form))
        assert made.returncode == 0, made.stderr
    read = run_python("-c", LOAD, "cifar10", str(tmp_path / "tfds"), "32", "3")
    assert "RESULT (50000, 32, 32, 3)" in read.stdout, read.stderr
    assert "train_00000 train_00011 airplane False" in read.stdout
    options = {"image_size": 32, "channels": 3}
    a = data.load("tfds", "cifar10", data_dir=str(tmp_path / "tfds"), **options)
    b = data.load("folder", "cifar10", data_dir=str(tmp_path / "folder"), **options)
    assert a.class_names == b.class_names
    for split, size in (("train", 50_000), ("test", 10_000)):
        seen = []
        for dataset in (a, b):
            images, labels, ids = getattr(dataset, split)[:3]
            assert images.shape == (size, 32, 32, 3)
            assert len(set(ids)) == size
            assert np.all(np.bincount(labels) == size // 10)
            seen.append(sorted((label, image.tobytes()) for label, image in zip(labels, images, strict=True)))
        assert seen[0] == seen[1]
