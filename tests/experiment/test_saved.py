"""The model of a run in one file, made by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from aljax.config import study
from aljax.errors import InvalidInputError
from aljax.experiment import saved
from aljax.records import arrays

ABOUT = {
    "identity": "",
    "class_names": ["cat", "dog"],
    "model": {**study("digits").to_dict()["model"], "name": "linear", "dtype": "float32"},
    "dataset": {"image_size": 8, "channels": 1, "background": 0},
}


@pytest.fixture
def write(tmp_path):
    """Writes a linear model, with other facts about it."""

    def write_model(**changes):
        content = {
            "about": np.frombuffer(json.dumps({**ABOUT, **changes}).encode(), np.uint8),
            "mean": np.zeros(1, np.float32),
            "std": np.ones(1, np.float32),
            "variables/params/Dense_0/kernel": np.zeros((64, 2), np.float32),
            "variables/params/Dense_0/bias": np.array([0, 1], np.float32),
        }
        (tmp_path / saved.NAME).write_bytes(arrays.packed(content))
        return tmp_path

    return write_model


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {}},
        {"model": {**ABOUT["model"], "dtype": "foo"}},
        {"class_names": ["a", "b", "c"]},
        {"dataset": {**ABOUT["dataset"], "image_size": 16}},
    ],
)
def test_a_model_whose_weights_are_not_its_own_is_refused(write, changes):
    with pytest.raises(
        InvalidInputError, match=r"model\.npz: damaged \(.*accepted: the file that aljax wrote"
    ):
        saved.load(write(**changes))


def test_all_that_is_left_out_is_named_and_some_image_is_needed(write, tmp_path):
    model, folder = saved.load(write()), tmp_path / "images"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"none")
    with pytest.raises(InvalidInputError, match=r"1 of 1 images cannot be read: broken\.png .*; accepted"):
        saved.table(model, folder)
    Image.new("L", (5, 5)).save(folder / "a.png")
    (folder / "notes.txt").touch()
    content, count, left_out = saved.table(model, folder)
    assert content.splitlines()[1].startswith(b"a.png,dog,0.73")
    assert count == 1
    assert [one.file for one in left_out] == ["broken.png", "notes.txt"]
