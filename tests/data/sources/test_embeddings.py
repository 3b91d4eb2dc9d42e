import json
import pickle

import numpy as np
import pytest
from absl import logging

from aljax import data
from aljax.data import archives, dataset
from aljax.data.sources.base import Request
from aljax.data.sources.embeddings import load_embeddings
from aljax.errors import InvalidInputError

N, D = 10, 3
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N, D)).astype(np.float32)
LABELS = np.array([0, 1] * 5)
FILES = np.array([f"a/{row}.jpg" for row in range(N)])
SPLIT = np.array(["train"] * 6 + ["test"] * 4)
WHOLE = {
    "features": FEATURES,
    "labels": LABELS,
    "files": FILES,
    "split": SPLIT,
    "class_names": np.array(["cat", "dog"]),
}


@pytest.fixture
def write(tmp_path):
    """Writes arrays as an .npz file; `...` leaves one out."""

    def write_arrays(compressed=False, **changes):
        path = tmp_path / "made.npz"
        arrays = {name: array for name, array in {**WHOLE, **changes}.items() if array is not ...}
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        return path

    return write_arrays


def load(path, **fields):
    return load_embeddings(Request("made", 8, 1, str(path), **fields))


def refused(path, **fields):
    with pytest.raises(InvalidInputError) as refusal:
        load(path, **fields)
    assert "\n" not in str(refusal.value)
    assert "accepted" in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_arrays_of_an_archive_are_a_data_set(write, compressed, dtype):
    found = load(write(compressed, features=FEATURES.astype(dtype)))
    assert found.class_names == ("cat", "dog")
    assert found.train.ids == tuple(FILES[:6])
    assert found.test.ids == tuple(FILES[6:])
    for split, rows in ((found.train, slice(0, 6)), (found.test, slice(6, None))):
        np.testing.assert_array_equal(split.images, FEATURES.astype(dtype)[rows])
        assert split.images.dtype == dtype
        np.testing.assert_array_equal(split.labels, LABELS[rows])
        assert split.labels.dtype == np.int32
        assert isinstance(split.images, np.memmap) is not compressed


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_out_of_order_and_columns_side_by_side_are_read_rightly(write, order):
    split = np.array(["test", "train"] * 5)
    found = load(write(features=np.asarray(FEATURES, order=order), split=split))
    np.testing.assert_array_equal(found.train.images, FEATURES[1::2])
    np.testing.assert_array_equal(found.test.images, FEATURES[::2])
    assert found.test.ids == tuple(FILES[::2])


def test_other_numbers_become_float32(write):
    for features in (FEATURES.astype(np.float64), np.arange(N * D, dtype=np.uint8).reshape(N, D)):
        found = load(write(features=features))
        assert found.train.images.dtype == np.float32
        np.testing.assert_array_equal(found.train.images, features[:6].astype(np.float32))


def test_labels_may_be_names_or_numbers_with_gaps_and_may_be_unknown(write):
    names = np.array(["dog", "", "class10", "class2", "dog", "class2", "dog", "class2", "dog", "class10"])
    found = load(write(labels=names, class_names=...))
    assert found.class_names == ("class2", "class10", "dog")
    assert list(found.train.labels) == [2, -1, 1, 0, 2, 0]
    numbers = np.array([7, -1, 3, 3, 7, 3, 7, 3, 7, 7])
    found = load(write(labels=numbers, class_names=...))
    assert found.class_names == ("3", "7")
    assert list(found.train.labels) == [1, -1, 0, 0, 1, 0]
    found = load(write(labels=np.char.encode(names), class_names=np.array(["dog", "class10", "class2"])))
    assert list(found.train.labels) == [0, -1, 1, 2, 0, 2]


def test_without_files_rows_are_numbered(write):
    assert load(write(files=...)).train.ids == tuple(f"row-{row}" for row in range(6))


def test_without_a_split_a_fixed_fifth_of_each_class_is_to_test_with(write, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *values: lines.append(text % values))
    labels = np.array([0] * 20 + [1] * 10 + [-1] * 5)
    path = write(features=np.arange(35.0)[:, None], labels=labels, files=..., split=...)
    found = load(path)
    assert np.bincount(found.test.labels).tolist() == [4, 2]
    assert set(found.train.ids).isdisjoint(found.test.ids)
    assert len(found.train.ids) == 29
    assert np.sum(found.train.labels == -1) == 5
    assert found.test.ids == load(path).test.ids != tuple(f"row-{row:02d}" for row in (0, 1, 2, 3, 20, 21))
    assert lines[0] == f"{path}: has no split; 20% of the labeled images of each class are the test split"


def test_images_of_other_splits_are_left_out_and_those_without_one_are_to_train_with(write):
    split = np.array(["", "train", "val", *SPLIT[3:]])
    found = load(write(split=split))
    assert found.train.ids == (FILES[0], FILES[1], *FILES[3:6])
    assert found.left_out == (data.LeftOut(FILES[2], "of the split 'val'"),)
    assert load(write(split=split), test_split="val").test.ids == (FILES[2],)


def test_an_array_with_a_csv_beside_it(tmp_path):
    path = tmp_path / "made.npy"
    np.save(path, FEATURES)
    rows = [f'"{file}",{("cat", "dog")[label]}' for file, label in zip(FILES, LABELS, strict=True)]
    path.with_suffix(".csv").write_text("\n".join(["file,label", *rows[:-1], f"{FILES[-1]},"]))
    found = load(path)
    assert found.class_names == ("cat", "dog")
    assert len(found.test.ids) == 2
    rows = [f"{row},{split}" for row, split in zip(rows, SPLIT, strict=True)]
    path.with_suffix(".csv").write_text("\n".join(["file,label,split", *rows]))
    np.testing.assert_array_equal(load(path).test.images, FEATURES[6:])
    path.with_suffix(".csv").write_text("\n".join(["file,label,split", *rows[1:]]))
    assert "labels have shape (9,); accepted: (10,)" in refused(path)
    path.with_suffix(".csv").write_text("name,label\na,b\n")
    assert "has no column 'file'; accepted: a CSV of file,label[,split]" in refused(path)
    path.with_suffix(".csv").unlink()
    assert "made.csv: no such file" in refused(path)


def test_safetensors_with_names_in_its_metadata_or_in_a_csv(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="reads them with the extra embeddings")
    path = tmp_path / "made.safetensors"
    tensors = {"features": FEATURES.astype(np.float16), "labels": LABELS}
    numpy.save_file(tensors, path, {"class_names": json.dumps(["cat", "dog"])})
    found = load(path)
    assert found.class_names == ("cat", "dog")
    assert found.train.images.dtype == np.float16
    rows = [
        f"{file},{('owl', 'ant')[label]},{split}"
        for file, label, split in zip(FILES, LABELS, SPLIT, strict=True)
    ]
    path.with_suffix(".csv").write_text("\n".join(["file,label,split", *rows]))
    numpy.save_file(tensors, path)
    found = load(path)
    assert found.class_names == ("ant", "owl")
    assert list(found.train.labels[:2]) == [1, 0]
    np.testing.assert_array_equal(found.test.images, FEATURES.astype(np.float16)[6:])


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="reads it with the extra embeddings")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "made.parquet"
    columns = {"features": list(FEATURES), "labels": ["cat", None, *["dog", "cat"] * 4], "split": list(SPLIT)}
    parquet.write_table(pyarrow.table({**columns, "more": list(range(N))}), path)
    found = load(path)
    assert list(found.train.labels) == [0, -1, 1, 0, 1, 0]
    np.testing.assert_array_equal(found.test.images, FEATURES[6:])
    parquet.write_table(pyarrow.table({**columns, "labels": [None, *LABELS[1:].tolist()]}), path)
    assert list(load(path).train.labels) == [-1, 1, 0, 1, 0, 1]
    parquet.write_table(pyarrow.table({**columns, "features": [*FEATURES[1:], [1.0]]}), path)
    assert "its rows hold 1 to 3 features" in refused(path)


@pytest.mark.parametrize("kind", ["safetensors", "parquet"])
def test_a_package_that_is_not_there_is_named_with_its_command(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives.importlib.util, "find_spec", lambda name: None)
    path = tmp_path / f"made.{kind}"
    path.touch()
    assert "pip install 'aljax[embeddings]'; accepted without it: .npz, .npy" in refused(path)


NAN = np.where(np.arange(N * D).reshape(N, D) == 5, np.nan, FEATURES)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"features": ...}, "holds 'labels', 'files', 'split', 'class_names'; accepted: 'features' [N, D]"),
        ({"features": FEATURES[0]}, "features have shape (3,); accepted: [N, D]"),
        ({"features": FEATURES[:, :0]}, "features have shape (10, 0); accepted: [N, D]"),
        ({"features": FEATURES > 0}, "features are of type bool; accepted: numbers"),
        ({"features": FEATURES.astype(object)}, "Object arrays cannot be loaded when allow_pickle=False"),
        ({"features": NAN}, "row 1 (a/1.jpg) holds the feature nan; accepted: finite numbers"),
        ({"features": FEATURES.astype(float) * 1e40}, "row 0 (a/0.jpg) holds the feature "),
        (
            {"features": np.full((N, D), np.inf, np.float16)},
            "row 0 (a/0.jpg) holds the feature inf",
        ),
        ({"labels": LABELS[1:]}, "labels have shape (9,); accepted: (10,), as features have rows"),
        ({"labels": LABELS[:, None]}, "labels have shape (10, 1); accepted: (10,)"),
        ({"files": FILES[:5]}, "files have shape (5,); accepted: (10,)"),
        ({"split": SPLIT[:5]}, "split have shape (5,); accepted: (10,)"),
        ({"labels": LABELS.astype(float)}, "labels are of type float64; accepted: whole numbers or names"),
        ({"labels": LABELS.astype(object)}, "Object arrays cannot be loaded"),
        (
            {"labels": LABELS - 2},
            "row 0 (a/0.jpg) has the label '-2'; accepted: 0, 1, or -1 where it is unknown",
        ),
        ({"labels": LABELS + 1}, "row 1 (a/1.jpg) has the label '2'; "),
        (
            {"labels": np.array(["cat", "dgo"] * 5)},
            "the label 'dgo'; did you mean 'dog'?; accepted: cat, dog, or an",
        ),
        ({"labels": np.zeros(N, int), "class_names": ...}, "its classes are 0; accepted: two or more"),
        ({"labels": ..., "class_names": ...}, "its classes are unknown; accepted: two or more"),
        (
            {"class_names": np.array(["cat", "cat"])},
            "its classes are cat, cat; accepted: two or more, no two alike",
        ),
        ({"files": np.array(["a"] * N)}, "rows 0 and 1 are both named 'a'; accepted: a name for each image"),
        (
            {"labels": np.array([*LABELS[:-1], -1])},
            "row 9 (a/9.jpg) of the test split has no label; accepted",
        ),
        (
            {"split": np.array(["tarin", "test"] * 5)},
            "no image is of the split 'train'; accepted as config.dataset",
        ),
        ({"class_names": np.array([["cat", "dog"]])}, "class_names are <U3 (1, 2): "),
        ({"class_names": np.array([0.0, 1.0])}, "class_names are float64 (2,): 0.0, 1.0; accepted: names"),
        (
            {"class_names": np.array(["", "dog"])},
            "class_names are <U3 (2,): , dog; accepted: names [K], none",
        ),
        ({"class_names": np.array(["-1", "dog"])}, "none of them empty or -1, which mean unknown"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(write, changes, complaint):
    path = write(**changes)
    assert f"{path}: " in refused(path)
    assert complaint in refused(path)


def test_files_that_are_no_embeddings_are_refused_in_one_line(tmp_path, write):
    assert "accepted: a file that exists, one of .npz, .npy, .safetensors, .parquet" in refused(tmp_path)
    (tmp_path / "made.pt").touch()
    assert "accepted: one of .npz" in refused(tmp_path / "made.pt")
    damaged = tmp_path / "damaged.npz"
    content = write().read_bytes()
    for bad in (b"", b"PK\3\4", content[:-30], content[: len(content) // 2], pickle.dumps(FEATURES)):
        damaged.write_bytes(bad)
        assert f"{damaged}: " in refused(damaged)
    damaged.write_bytes(content.replace(FEATURES.tobytes(), FEATURES[::-1].tobytes()))
    assert "Bad CRC-32 for file 'features.npy'" in refused(damaged)
    damaged.write_text("no archive")
    assert f"{damaged}: is no .npz archive, or not whole; accepted" in refused(damaged)
    damaged.rename(tmp_path / "array.npy").write_bytes(content)
    (tmp_path / "array.csv").write_text("file,label\n")
    assert "array.npy: is an archive and no array; its name is to end in .npz" in refused(
        tmp_path / "array.npy"
    )
    np.save(tmp_path / "array.npy", FEATURES.astype(object), allow_pickle=True)
    assert "pickled" in refused(tmp_path / "array.npy")


def test_texts_are_printable_whatever_their_bytes(write):
    labels = np.array([b"\xff", b"\x1b[31mred"] * 5)
    files = np.array([b"\xff%d" % row for row in range(N)])
    found = load(write(labels=labels, files=files, class_names=...))
    assert found.class_names == (r"\x1b[31mred", r"\xff")
    assert found.train.ids[0] == r"\xff0"


def test_the_same_images_to_train_and_to_test_are_refused(write):
    for changes in ({}, {"split": ...}):
        assert "config.dataset.test_split='train': is config.dataset.train_split" in refused(
            write(**changes), test_split="train"
        )


def test_no_pickle_is_executed(tmp_path):
    class Executed:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    for name in ("made.npz", "made.npy"):
        (tmp_path / name).write_bytes(pickle.dumps(Executed()))
        (tmp_path / "made.csv").write_text("file,label\na,b\n")
        refused(tmp_path / name)
    np.savez(tmp_path / "made.npz", features=np.array([[Executed()]], object))
    refused(tmp_path / "made.npz")
    assert not (tmp_path / "executed").exists()


def test_parts_digests_and_repetitions_of_embeddings(write, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    features = np.concatenate([FEATURES[:6], FEATURES[[4, 4, 8, 9]]])
    options = {"image_size": 8, "channels": 1, "data_dir": str(write(features=features))}
    whole = data.load("embeddings", "made", **options)
    assert lines == [
        "2 of the 4 test images are training images too, number by number (the first: a/6.jpg is a/4.jpg)"
    ]
    part = data.load("embeddings", "made", images=4, **options)
    assert part.train.images.shape == (4, D)
    assert data.digest(part) != data.digest(whole) == data.digest(data.load("embeddings", "made", **options))
    unlike = {**options, "data_dir": str(write(features=features.astype(np.float16)))}
    assert data.digest(data.load("embeddings", "made", **unlike)) != data.digest(whole)


def test_a_study_leaves_out_what_has_no_label_and_people_may_name_the_classes(write):
    labels = np.array([-1, *LABELS[1:]])
    options = {"image_size": 8, "channels": 1, "data_dir": str(write(labels=labels, class_names=...))}
    study = data.load("embeddings", "made", **options)
    assert study.left_out == (data.LeftOut(FILES[0], "without a label"),)
    assert study.train.ids == tuple(FILES[1:6])
    whole = data.load("embeddings", "made", unknown=True, class_names=("x", "y"), **options)
    assert list(whole.train.labels) == [-1, 1, 0, 1, 0, 1]
    assert whole.class_names == ("x", "y")


def test_statistics_are_a_mean_of_each_feature_and_one_deviation(monkeypatch):
    monkeypatch.setattr(dataset, "ROWS_AT_ONCE", 3)
    features = (100 + 5 * RNG.normal(size=(N, D))).astype(np.float16)
    mean, std = data.channel_statistics(features)
    np.testing.assert_allclose(mean, features.astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(features.astype(float).var(axis=0).mean()), rtol=1e-6)
    assert mean.shape == std.shape == (D,)
    assert mean.dtype == std.dtype == np.float32
    mean, std = data.channel_statistics(np.full((N, D), 7, np.float32))
    assert (mean.tolist(), std.tolist()) == ([7] * D, [1] * D)
