"""Two trials of a small study run apart and are joined; a third run has both."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from aljax.cli import join as command
from aljax.errors import InvalidInputError
from aljax.experiment import loop as experiment
from aljax.records import files, join, manifest, selections, verify
from aljax.report import make
from tests import harness


def small(**fields):
    return harness.small(**{"cycles": 2, "compare": ("learning_loss", "core_set"), **fields})


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
    assert command.main([str(out), str(apart[1]), str(apart[0])]) == 0
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
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # which belong to the config as it was
    manifest.write(run)


def unfinished(run):
    for name in ("cycles", "timings", "diagnostics", "pairs"):
        path = run / f"{name}.jsonl"
        lines, _ = files.read_lines(path)
        path.write_bytes(b"".join(files.encoded(line) for line in lines if line["cycle"] == 1))
    for name in ("summary.csv", "summary.json", "pairs.csv"):
        (run / name).unlink()
    manifest.begin(run)


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
    with pytest.raises(InvalidInputError, match=expected):
        join.join(tmp_path / "joined", [apart[0], part], make.report)
    assert not (tmp_path / "joined").exists()


def test_every_trial_once(whole, apart, tmp_path):
    third = shutil.copytree(apart[1], tmp_path / "third")
    for folder in ("selections", "chosen", "tensorboard", "gallery"):
        if (third / folder / "trial-01").exists():
            (third / folder / "trial-01").rename(third / folder / "trial-02")
    edited(third, first_trial=2)
    for path in third.glob("*.jsonl"):
        lines, _ = files.read_lines(path)
        path.write_bytes(b"".join(files.encoded(line | {"trial": 2}) for line in lines))
    manifest.write(third)
    for parts, expected in (
        ([apart[0], whole], "begins with trial 0, and trial 0 is given twice; accepted: every trial once"),
        ([apart[1], apart[1]], "1: begins with trial 1, and trial 1 is given twice"),
        ([third, apart[0]], "third: begins with trial 2, and trial 1 is in none"),
    ):
        with pytest.raises(InvalidInputError, match=expected):
            join.join(tmp_path / "joined", parts, make.report)


def test_the_run_directory_must_be_new_and_outside_of_the_parts(apart, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out, expected in (
        (apart[1], f"{apart[1]}: is there"),
        (apart[0] / "within", f"{apart[0] / 'within'}: lies in a run directory"),
        (tmp_path / "file" / "joined", f"{tmp_path / 'file' / 'joined'}: cannot be made (File exists)"),
    ):
        assert command.main([str(out), *map(str, apart)]) == 2
        told = f"aljax: {expected}; accepted: a new folder, named before the run directories\n"
        assert capsys.readouterr().err == told
    assert not (apart[0] / "within").exists()


def test_a_full_disk_leaves_nothing(apart, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(join.shutil, "copytree", full)
    assert command.main([str(tmp_path / "joined"), *map(str, apart)]) == 1
    expected = f"aljax: {tmp_path / 'joined'}: could not be written (No space left on device)\n"
    assert capsys.readouterr().err == expected
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_join_left_is_removed(apart, tmp_path):
    left = tmp_path / f"{files.PARTIAL}joined"
    (left / "selections").mkdir(parents=True)
    join.join(tmp_path / "joined", apart, make.report)
    assert [path.name for path in tmp_path.iterdir()] == ["joined"]
    assert list(verify.problems(tmp_path / "joined")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gets_one_line_and_leaves_nothing(apart, tmp_path, number):
    command = [sys.executable, "-m", "aljax", "join", str(tmp_path / "joined"), *map(str, apart)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(tmp_path.iterdir()):
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert errors == "aljax: stopped; nothing is lost, and the same command can be given again\n"
    assert list(tmp_path.iterdir()) == []


def test_another_device_is_reported_and_taken(apart, tmp_path):
    part = shutil.copytree(apart[1], tmp_path / "part")
    edited(part, device="1 x other")
    reported = join.join(tmp_path / "joined", [apart[0], part], make.report)
    assert len(reported) == 1
    assert "device is '1 x other', and" in reported[0]
