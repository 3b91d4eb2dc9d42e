"""Preparing a data set imports TensorFlow, so it is done in processes of their own."""

import importlib.util
import json
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
class {name}(tfds.core.GeneratorBasedBuilder):
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
USUAL = {"channels": 3, "dtype": "uint8", "id": "None", "offline": False}
VARIANTS = {
    "Numbered": {"id": "tfds.features.Scalar(np.int64)"},
    "Plain": {},
    "Deep": {"dtype": "uint16", "channels": 1},
    "Offline": {"offline": True},
    "Other": {},
}

LOAD = """
import json, sys
from aljax import data
from aljax.errors import InvalidInputError
for name, data_dir, image_size, channels, *splits in json.loads(sys.argv[1]):
    fields = {"data_dir": data_dir, "image_size": image_size, "channels": channels}
    fields["train_split"], fields["test_split"] = splits or ["train", "test"]
    try:
        train, _, class_names, *_ = data.load("tfds", name, **fields)
    except InvalidInputError as error:
        print("RESULT", error)
    else:
        print("RESULT", train.images.shape, train.images[:, 0, 0, 0].tolist()[:12],
              train.labels.tolist()[:12], *train.ids[::11][:2], class_names[0], "tensorflow" in sys.modules)
"""

SMALL_SETS = """
def examples(features, count):
    for i in range(count):
        values = {tfds.features.Image: lambda f: np.full(f.shape, i, np.uint8),
                  tfds.features.ClassLabel: lambda f: i % f.num_classes,
                  tfds.features.Text: lambda f: f"image_{i:03d}"}
        yield i, {name: values[type(feature)](feature) for name, feature in features.items()}

for name in sys.argv[2:]:
    builder = tfds.builder(name, data_dir="data", file_format="array_record")
    features = builder.info.features
    type(builder)._split_generators = lambda self, manager: {
        "train": examples(features, 24), "test": examples(features, 12)}
    builder.download_and_prepare()
print("RESULT prepared")
"""
SMALL = ("cifar100", "svhn", "fashion_mnist")


def run_python(*arguments, cwd=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


def results_of(run):
    lines = run.stdout.splitlines()
    return [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT ")] or [run.stderr]


@pytest.fixture(scope="module")
def installed():
    if importlib.util.find_spec("tensorflow_datasets") is None:
        pytest.skip("tensorflow-datasets is not installed (extra: tfds)")


@pytest.fixture(scope="module")
def prepared(installed, tmp_path_factory):
    """Prepares small data sets of our own and of tfds, in one process as TensorFlow takes long to import.

    Returns the folder that holds them in `data`, and what `data.load` gave of each of ours by its name.
    """
    folder = tmp_path_factory.mktemp("tfds")
    builders = [BUILDER.format(name=name, **{**USUAL, **options}) for name, options in VARIANTS.items()]
    imports = "import numpy as np\nimport tensorflow_datasets as tfds\n"
    (folder / "shapes").mkdir()
    (folder / "shapes" / "__init__.py").touch()
    (folder / "shapes" / "builders.py").write_text(imports + "".join(builders))
    (folder / "load.py").write_text("import shapes.builders\n" + LOAD)
    other = "tfds.builder('other', data_dir='data').download_and_prepare()\n"
    program = "import shapes.builders\n" + LOAD + imports + other + SMALL_SETS
    (folder / "prepare.py").write_text(program)
    requests = [("numbered", "data", 8, 1), ("plain", "data", 12, 3), ("deep", "data", 8, 1)]
    requests.append(("offline", "data", 8, 3))
    names = [config_of(name)["dataset"]["name"] for name in SMALL]
    run = run_python("prepare.py", json.dumps(requests), *names, cwd=folder)
    *results, last = results_of(run)
    assert (run.returncode, last) == (0, "prepared"), run.stderr
    return folder, dict(zip([request[0] for request in requests], results, strict=True))


def loaded(prepared, *requests):
    """Returns what `data.load` gives of each request, in a process of its own."""
    return results_of(run_python("load.py", json.dumps(requests), cwd=prepared[0]))


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InvalidInputError) as refusal:
        data.load("tfds", "cifar10", image_size=8, channels=3)
    message = str(refusal.value)
    assert message.startswith("config.dataset.source='tfds': needs packages that are not installed (")
    assert "pip install 'aljax[tfds]'" in message
    assert "pip install -e '.[tfds]'" in message
    assert "\n" not in message


def test_a_name_that_tfds_does_not_know(installed):
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.name='no_such_set': .*accepted"
    ) as refusal:
        data.load("tfds", "no_such_set", image_size=8, channels=3)
    assert "\n" not in str(refusal.value)


def test_a_failed_download_is_refused_in_one_line(prepared):
    line = prepared[1]["offline"]
    assert line.startswith("config.dataset.name='offline': could not be downloaded and prepared (")


def test_a_data_set_in_another_file_format_is_not_an_unknown_one(prepared):
    (line,) = loaded(prepared, ("other", "data", 8, 3))
    assert "config.dataset.data_dir='data': holds other in another file format" in line


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "first", "last"),
    [("numbered", 8, 1, "0", "11"), ("plain", 12, 3, "train-0000000", "train-0000011")],
)
def test_tfds_prepares_once_and_reads_without_tensorflow(prepared, name, image_size, channels, first, last):
    pairs = [(), ("train[:75%]", "train[50%:]"), ("train[:50%]", "train[50%:]"), ("train", "exam")]
    requests = [(name, "data", image_size, channels, *splits) for splits in pairs]
    read, overlapping, apart, unknown = loaded(prepared, *requests)
    before = prepared[1][name]
    assert before.endswith(" True")  # TensorFlow prepared it
    assert read == before.removesuffix("True") + "False"  # and was not needed again
    assert f"(12, {image_size}, {image_size}, {channels})" in read
    assert f"{first} {last} round" in read
    if name == "numbered":  # in the order of their ids
        assert f"{list(range(12))} {[0, 1] * 6} " in read
    assert overlapping.startswith(
        "config.dataset.test_split='train[50%:]': has records of config.dataset.train_"
    )
    assert apart.startswith("(6, ")
    assert unknown.startswith("config.dataset.test_split='exam': ")
    assert unknown.endswith("accepted: of the splits train, test")


def test_what_tfds_decodes_with_other_packages_alone_is_refused_in_one_line(prepared):
    line = prepared[1]["deep"]
    if importlib.util.find_spec("cv2"):
        assert line.startswith("(12, 8, 8, 1)")
    else:
        assert line.startswith("config.dataset.name='deep': its records cannot be decoded (")


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


def test_the_configs_of_other_data_sets_load_what_tfds_prepares(prepared):
    """Small sets with the builders and the features of the real ones."""
    configs = {name: config_of(name) for name in SMALL}
    for name, shape, classes in [
        ("cifar100", (32, 32, 3), 100),
        ("svhn", (32, 32, 3), 10),
        ("fashion_mnist", (28, 28, 1), 10),
    ]:
        dataset = data.load(**{**configs[name]["dataset"], "data_dir": str(prepared[0] / "data")})
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
    read = run_python("-c", LOAD, json.dumps([("cifar10", str(tmp_path / "tfds"), 32, 3)]))
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
