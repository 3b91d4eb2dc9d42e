"""PyTorch files that are read, and those that are refused: each is made here, without PyTorch."""

import io
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.models import state_dict


class Storage:
    """Numbers of a type that torch has, under a key."""

    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


class Pickler(pickle.Pickler):
    """Pickles storages by a persistent id, as torch.save does."""

    def persistent_id(self, one):
        if isinstance(one, Storage):
            return "storage", one.kind, one.key, "cpu", len(one.numbers), None
        return None


class Reduced:
    """Is pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def torch(monkeypatch):
    """The names that a state_dict is pickled with, as a module torch would have them."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    module._utils = utils
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(module, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("is never called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


def saved(content, storages=(), protocol=1001):
    """Returns a file's content as torch.save wrote it before version 1.6."""
    file = io.BytesIO()
    header = (state_dict.MAGIC, protocol, {"little_endian": True, "type_sizes": {}})
    for one in (*header, content, [storage.key for storage in storages]):
        Pickler(file, protocol=2).dump(one)
    for storage in storages:
        file.write(len(storage.numbers).to_bytes(8, "little") + storage.numbers.tobytes())
    return file.getvalue()


def tensor(torch, storage, offset, shape, strides):
    return Reduced(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict())


def test_tensors_by_name(torch):
    numbers = Storage(torch.FloatStorage, "7", np.arange(12, dtype="<f4"))
    counts = Storage(torch.LongStorage, "3", np.array([5], "<i8"))
    content = OrderedDict(
        rows=tensor(torch, numbers, 0, (2, 3), (3, 1)),
        columns=tensor(torch, numbers, 6, (2, 3), (1, 2)),
        count=tensor(torch, counts, 0, (), ()),
    )
    found = state_dict.tensors(saved(content, [counts, numbers]))
    assert list(found) == ["rows", "columns", "count"]
    np.testing.assert_array_equal(found["rows"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["columns"], [[6, 8, 10], [7, 9, 11]])
    assert found["count"] == 5
    assert found["rows"].dtype == np.float32


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch harmed",)), (eval, ("1",)), (getattr, (1, "real")), (np.zeros, (3,))],
)
def test_whatever_else_a_pickle_asks_for_is_refused(tmp_path, monkeypatch, function, arguments):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    path.write_bytes(saved(OrderedDict(weight=Reduced(function, *arguments))))
    with pytest.raises(
        InvalidInputError, match=r"model\.pth: asks for .*, which is not loaded; accepted: "
    ) as one:
        state_dict.read(path)
    assert "\n" not in str(one.value)
    assert os.listdir(tmp_path) == ["model.pth"]


def test_a_pickle_cannot_change_the_reader(torch):
    """BUILD sets attributes of what is on the stack: of a function that is made for one pickle alone."""

    before = state_dict._rebuilt.__defaults__
    payload = pickle.dumps(torch._utils._rebuild_tensor_v2, 2)[:-1]
    payload += pickle.dumps((None, {"__defaults__": (1, 2)}), 2)[2:-1] + pickle.BUILD + pickle.STOP
    state_dict._Unpickler(io.BytesIO(payload)).load()
    assert state_dict._rebuilt.__defaults__ == before


def test_what_is_no_state_dict(torch, tmp_path):
    numbers = Storage(torch.FloatStorage, "1", np.zeros(4, "<f4"))
    halves = Storage(torch.HalfStorage, "1", np.zeros(4, "<f2"))
    outside = saved({"a": tensor(torch, numbers, 2, (3,), (1,))}, [numbers])
    whole = saved({"a": tensor(torch, numbers, 0, (4,), (1,))}, [numbers])
    contents = {
        "is of another format": saved({}, protocol=1002),
        "asks for torch.HalfStorage": saved({"a": tensor(torch, halves, 0, (4,), (1,))}, [halves]),
        "other things than tensors": saved({"a": 1}),
        "size of buffer": outside,
        "": whole[:-1],
        "pickle": b"PK\x03\x04 of a newer version",
        "Ran out of input": b"",
    }
    path = tmp_path / "model.pth"
    for reason, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=rf"model\.pth: .*{reason}.*; accepted: a state_dict"):
            state_dict.read(path)
    with pytest.raises(InvalidInputError, match=r"no\.pth: cannot be read"):
        state_dict.read(tmp_path / "no.pth")
