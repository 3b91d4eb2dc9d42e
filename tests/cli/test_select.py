import csv

import numpy as np
import pytest

from aljax import cli
from aljax.data import shards
from aljax.strategies import sharded


@pytest.fixture
def folder(tmp_path):
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    (tmp_path / "shards").mkdir()
    for number, part in enumerate(np.split(points, [10, 35])):
        np.save(tmp_path / "shards" / f"p-{number}-of-3.npy", part)
    np.save(tmp_path / "margins.npy", np.linspace(1, 0, 60))
    np.save(tmp_path / "labeled.npy", points[:2])
    return tmp_path


def select(folder, *options):
    out = folder / "out.csv"
    status = cli.main(["select", str(folder / "shards"), f"--out={out}", *options])
    return status, list(csv.DictReader(out.read_text().splitlines())) if out.exists() else None


def test_rows_are_named_by_shard_and_number(folder, capsys):
    status, lines = select(folder, "--budget=5", f"--labeled={folder}/labeled.npy")
    files = shards.opened(folder / "shards")
    expected = sharded.k_center(files, 5, np.load(folder / "labeled.npy"))
    assert status == 0
    assert [int(line["number"]) for line in lines] == expected.chosen.tolist()
    for line in lines:
        row = np.load(folder / "shards" / line["shard"])[int(line["row"])]
        assert np.array_equal(row, shards.taken(files, np.array([int(line["number"])]))[0])
    said = capsys.readouterr().out
    assert f"5 of 60 rows, radius {expected.reached:.6g}, none has less than {expected.bound:.6g}" in said


def test_every_method_selects(folder):
    for options in (
        ("--method=maxherding",),
        ("--method=probcover", "--radius=0.2"),
        ("--method=cluster_margin", f"--margins={folder}/margins.npy"),
    ):
        status, lines = select(folder, "--budget=4", *options)
        assert (status, len({line["number"] for line in lines})) == (0, 4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--budget=61",), "budget is 61; accepted: 1 to 60"),
        (("--budget=2", "--method=probcover"), "--method=probcover: accepted: with --radius"),
        (("--budget=2", "--margins=margins.npy"), "--margins: accepted: with --method=cluster_margin"),
        (
            ("--budget=2", "--method=probcover", "--radius=3"),
            "--radius=3.0: accepted: a number above 0 and at",
        ),
        (("--budget=2", "--method=probcover", "--radius=-1"), "--radius=-1.0: accepted: a number above 0"),
        (("--budget=2", "--labeled=absent.npy"), "--labeled='absent.npy': "),
        (("--budget=2", "--labeled=margins.npy"), "labeled points have shape (60,); accepted: [L, 3]"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, capsys, monkeypatch, options, expected):
    monkeypatch.chdir(folder)
    try:
        status, lines = select(folder, *options)
    except SystemExit as left:
        status, lines = left.code, None
    errors = capsys.readouterr().err
    assert (status, lines) == (2, None)
    assert expected in errors
    assert errors.count("\n") == 1


def test_a_damaged_shard_is_one_line(folder, capsys):
    path = folder / "shards" / "p-1-of-3.npy"
    path.write_bytes(path.read_bytes()[:-4])
    assert select(folder, "--budget=2") == (2, None)
    assert f"{path}: " in capsys.readouterr().err
