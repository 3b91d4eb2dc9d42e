import numpy as np
import pytest

from aljax.data import shards
from aljax.errors import InvalidInputError


def write(folder, names, rows=(3, 4, 2), dimensions=2):
    folder.mkdir(exist_ok=True)
    points = np.arange(sum(rows) * dimensions, dtype=np.float32).reshape(-1, dimensions)
    for name, part in zip(names, np.split(points, np.cumsum(rows)[:-1]), strict=True):
        if name.endswith(".npy"):
            np.save(folder / name, part)
        else:
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.table({"features": [row.tolist() for row in part]})
            pyarrow.parquet.write_table(table, folder / name)
    return points


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_blocks_are_all_rows_in_order_whatever_the_shards(tmp_path, suffix, size):
    points = write(tmp_path / "s", [f"part-{row}.{suffix}" for row in (2, 3, 4)])
    found = shards.opened(tmp_path / "s")
    assert (found.rows, found.dimensions) == (9, 2)
    starts, parts = zip(*shards.blocks(found, size), strict=True)
    assert list(starts) == list(range(0, 9, size))
    assert {len(part) for part in parts[:-1]} <= {size}
    assert np.array_equal(np.concatenate(parts), points)
    assert parts[0].dtype == np.float32


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_rows_are_taken_in_the_order_asked_for(tmp_path, suffix):
    points = write(tmp_path / "s", [f"{row}.{suffix}" for row in (8, 9, 10)])  # in natural order
    rows = np.array([8, 0, 4, 3, 4])
    assert np.array_equal(shards.taken(shards.opened(tmp_path / "s"), rows), points[rows])


def refusal(call, *arguments):
    with pytest.raises(InvalidInputError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a-0.npy", "a-1.npy", "a-3.npy"), "of the shards a-0 to a-3, a-2 is missing; accepted: all"),
        (("a-0-of-4.npy", "a-1-of-4.npy", "a-2-of-4.npy"), "of the shards a-0 to a-3, a-3 is missing"),
        (("a-2-of-4.npy", "a-3-of-4.npy", "a-4-of-4.npy"), "of the shards a-1 to a-4, a-1 is missing"),
    ],
)
def test_a_shard_that_is_missing_is_named(tmp_path, names, expected):
    write(tmp_path / "s", names)
    assert expected in refusal(shards.opened, tmp_path / "s")


def test_what_cannot_be_used_is_one_line_with_the_file(tmp_path):
    assert "no such folder" in refusal(shards.opened, tmp_path / "absent")
    folder = tmp_path / "s"
    folder.mkdir()
    assert "holds no shards" in refusal(shards.opened, folder)
    write(folder, ["a.npy", "b.npy", "c.npy"])
    content = (folder / "b.npy").read_bytes()
    for broken in (content[:-1], content[:50], b"", b"no array"):
        (folder / "b.npy").write_bytes(broken)
        assert refusal(shards.opened, folder).startswith(f"{folder}/b.npy: ")
    np.save(folder / "b.npy", np.zeros((4, 3), np.float32))
    assert "b.npy: has 3 features a row; accepted: 2, as a.npy has" in refusal(shards.opened, folder)
    np.save(folder / "b.npy", np.array([[0, 1], [np.nan, 1], [2, 3]]))
    found = shards.opened(folder)
    for call in (lambda: list(shards.blocks(found, 4)), lambda: shards.taken(found, np.array([0, 4]))):
        assert "b.npy: row 1 holds a value that is not finite" in refusal(call)
    (folder / "c.npy").unlink()
    np.save(folder / "b.npy", np.zeros((3, 2), np.float32))
    assert "c.npy: " in refusal(lambda: list(shards.blocks(found, 4)))
    (folder / "d.parquet").write_bytes(b"no table")
    assert "d.parquet: " in refusal(shards.opened, folder)
