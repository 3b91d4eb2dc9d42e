"""Two trials of a small study run apart and are joined; a third run has both."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_config import changed, load

from aljax import experiment, files, join, selections, verify
from aljax.errors import Refused
from benchmarks.faults import SMALL


def small(**fields):
    config = load(Path(__file__).parents[1] / "configs" / "digits.py")
    tiny = {name.replace(".", "__"): value for name, value in SMALL.items()}
    return changed(config, **tiny | {"cycles": 2, "compare": ("learning_loss", "core_set")} | fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    experiment.run(small(), path)
    return path


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apart")
    for trial in (0, 1):
        experiment.run(small(first_trial=trial, trials=1), folder / str(trial))
    return [folder / "0", folder / "1"]


def test_what_ran_apart_is_what_one_run_would_have_made(whole, apart, tmp_path, capsys):
    out = tmp_path / "new" / "joined"
    assert join.main([str(out), str(apart[1]), str(apart[0])]) == 0
    assert f"run directory: {out}" in capsys.readouterr().out.replace("\n", "")
    same = ("config.json", "cycles.jsonl", "pairs.jsonl", "diagnostics.jsonl", "summary.csv", "pairs.csv")
    for name in same:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    for trial in (0, 1):
        for cycle in (1, 2):
            one, other = (selections.load(selections.path_of(run, trial, cycle)) for run in (out, whole))
            np.testing.assert_array_equal(one.subset, other.subset)
            np.testing.assert_array_equal(one.scores, other.scores)
    names = [sorted(path.name for path in run.iterdir() if path.name != ".lock") for run in (out, whole)]
    assert names[0] == names[1]
    assert sorted(path.name for path in (out / "gallery").iterdir()) == ["trial-00"]
    assert list(verify.problems(out)) == []
    assert sorted(path.name for path in out.parent.iterdir()) == ["joined"]
    before = (out / "cycles.jsonl").read_bytes()
    experiment.run(small(), out)  # finished: nothing to do
    assert (out / "cycles.jsonl").read_bytes() == before


def edited(run, **changes):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def unfinished(run):
    for name in ("cycles", "timings", "diagnostics", "pairs"):
        path = run / f"{name}.jsonl"
        lines, _ = files.read_lines(path)
        path.write_bytes(b"".join(files.encoded(line) for line in lines if line["cycle"] == 1))
    for name in ("summary.csv", "summary.json", "pairs.csv"):
        (run / name).unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (unfinished, "part: is not finished; accepted"),
        (lambda run: edited(run, seed=5), "part/config.json: seed is 5, and 0 in"),
        (lambda run: edited(run, data_sha256="0"), "part/config.json: data_sha256 is '0'"),
        (lambda run: selections.path_of(run, 1, 2).unlink(), "cycle-02.npz: missing"),
        (lambda run: (run / "config.json").unlink(), "part: no config.json"),
    ],
)
def test_what_does_not_go_together_is_refused(apart, tmp_path, change, expected):
    part = shutil.copytree(apart[1], tmp_path / "part")
    change(part)
    with pytest.raises(Refused, match=expected):
        join.join(tmp_path / "joined", [apart[0], part])
    assert not (tmp_path / "joined").exists()


def test_trials_follow_one_another(whole, apart, tmp_path, capsys):
    for parts in ([apart[0], whole], [apart[1], apart[1]]):
        with pytest.raises(Refused, match=r"config\.first_trial=. *; accepted: ., as trials follow"):
            join.join(tmp_path / "joined", parts)
    assert join.main([str(tmp_path), str(apart[0])]) == 2
    assert capsys.readouterr().err == f"join: {tmp_path}: is there; accepted: a new folder\n"


def test_another_device_is_told_and_taken(apart, tmp_path, capsys):
    part = shutil.copytree(apart[1], tmp_path / "part")
    edited(part, device="1 x other")
    join.join(tmp_path / "joined", [apart[0], part])
    assert "device is '1 x other', and" in capsys.readouterr().err


def test_where_nothing_can_be_written(apart, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert join.main([str(tmp_path / "file" / "joined"), *map(str, apart)]) == 1
    assert capsys.readouterr().err.startswith(f"join: {tmp_path / 'file' / 'joined'}: could not be written (")
