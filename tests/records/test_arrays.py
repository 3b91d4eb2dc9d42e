import numpy as np
import pytest

from aljax.records import arrays

STORED = {"a": np.arange(5, dtype=np.int32), "group/b": np.array(["x", "yz"]), "none": np.empty((0, 3))}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_and_no_altered_byte_changes_them(tmp_path, compressed):
    path = tmp_path / "a.npz"
    whole = arrays.packed(STORED, compressed)
    assert arrays.packed(STORED, compressed) == whole
    for place in (None, *range(0, len(whole), 5)):
        content = bytearray(whole)
        if place is not None:
            content[place] ^= 4
        path.write_bytes(content)
        try:
            loaded = arrays.unpacked(path)
        except ValueError:
            assert place is not None
            continue
        assert loaded.keys() == STORED.keys()
        for name, array in STORED.items():
            np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello"])
def test_no_archive_is_a_value_error_of_one_line(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        arrays.unpacked(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="No such file"):
        arrays.unpacked(tmp_path / "none.npz")


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_as_png(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(arrays.png(image))
    assert arrays.shows(path, image)
    assert not arrays.shows(path, image[::-1])
    assert not arrays.shows(tmp_path / "none.png", image)
