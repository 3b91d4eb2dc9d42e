"""Flips, cuts, swaps, removals and other kinds, over every file of a finished run made by hand."""

import itertools
import os
import shutil

import numpy as np
import pytest

from aljax.cli import repair as command
from aljax.experiment import tensorboard
from aljax.records import checkpoints, files, manifest, repair, selections, verify
from tests.harness import finished_run

FLIPS = 60
NO_PART = (".lock",)  # the number of the process that held it


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def begun(whole, tmp_path_factory):
    """A run whose last cycle is being trained, with a page and curves."""
    run = shutil.copytree(whole, tmp_path_factory.mktemp("begun") / "run")
    for name in ("cycles.jsonl", "timings.jsonl", "pairs.jsonl", "diagnostics.jsonl"):
        lines = (run / name).read_bytes().splitlines(keepends=True)
        (run / name).write_bytes(b"".join(lines[: 4 if name == "diagnostics.jsonl" else 3]))
    for name in ("summary.csv", "summary.json", "pairs.csv", "figures", "tensorboard"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    manifest.begin(run)
    manifest.replace(run, {"report.html": b"<html>", "left_out.csv": b"file,reason\n"})
    manifest.enter(run, ["left_out.csv"])
    curves = tensorboard.Curves(run / "tensorboard" / "trial-03", 0)
    curves.add(1, {"train/accuracy": 0.5})
    curves.close()
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def files_of(run):
    found = (path for path in run.rglob("*") if path.is_file() and path.name not in NO_PART)
    return sorted(path.relative_to(run).as_posix() for path in found)


def found(run):
    return list(verify.problems(run))


@pytest.mark.parametrize("kind", ["whole", "begun"])
def test_every_flip_of_a_bit_is_noticed(request, tmp_path, kind):
    """At places drawn over all bytes, with some in every file."""
    run = shutil.copytree(request.getfixturevalue(kind), tmp_path / "run")
    rng = np.random.default_rng(0)
    sizes = {name: (run / name).stat().st_size for name in files_of(run)}
    names = [*sizes, *rng.choice(list(sizes), FLIPS, p=np.array(list(sizes.values())) / sum(sizes.values()))]
    unnoticed = []
    for name in names:
        path, place, bit = run / name, int(rng.integers(sizes[name])), int(rng.integers(8))
        content = path.read_bytes()
        altered = bytearray(content)
        altered[place] ^= 1 << bit
        path.write_bytes(altered)
        if not found(run):
            unnoticed.append((name, place, bit))
        path.write_bytes(content)
    assert unnoticed == []
    assert found(run) == []


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def longer(path):
    with path.open("ab") as file:
        file.write(b"\n")


# A run that goes on is no worse for lines or curves that a killed process did not write, or with a page or
# images left out; what it needs is there.
GOES_ON_WITHOUT = ("tensorboard/",)


@pytest.mark.parametrize("kind", ["whole", "begun"])
@pytest.mark.parametrize("change", [cut, longer, os.unlink, a_folder, a_link, a_pipe])
def test_every_change_of_a_file_is_noticed_in_a_line(request, tmp_path, kind, change):
    whole = request.getfixturevalue(kind)
    for number, name in enumerate(files_of(whole)):
        run = shutil.copytree(whole, tmp_path / str(number))
        change(run / name)
        problems = found(run)
        assert problems or (kind == "begun" and name.startswith(GOES_ON_WITHOUT)), name
        assert not any("\n" in line for line in problems), name
        shutil.rmtree(run)


def test_files_that_change_places_are_noticed(run):
    names = files_of(run)
    for first, second in itertools.pairwise(names):
        one, other = (run / first).read_bytes(), (run / second).read_bytes()
        if one == other:
            continue
        (run / first).write_bytes(other)
        (run / second).write_bytes(one)
        assert found(run), (first, second)
        (run / first).write_bytes(one)
        (run / second).write_bytes(other)
    assert found(run) == []


def test_what_no_run_wrote_is_foreign_and_no_problem(run, tmp_path):
    (run / "notes.txt").touch()
    (run / "thesis").mkdir()
    (run / f"{files.PARTIAL}0").touch()  # of a killed write: the run's own, which its next start removes
    assert manifest.foreign(run) == ["notes.txt", "thesis"]
    assert found(run) == []


def test_a_finished_run_needs_no_checkpoints_but_those_it_has_are_whole(run):
    file = run / "checkpoints" / "trial-00" / "notes" / "array"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    manifest.write(run)
    file.write_bytes(b"weightz")
    assert [line.replace(f"{run}/", "") for line in manifest.problems(run)] == [
        "checkpoints/trial-00/notes/array: is not what manifest.json lists"
    ]
    shutil.rmtree(run / "checkpoints")
    assert list(manifest.problems(run)) == []


def test_every_file_of_a_checkpoint_is_in_its_checksum(tmp_path):
    owner = checkpoints.training("run", tmp_path / "trial-00", 1, np.arange(3))
    progress = checkpoints.Progress(0, 4, np.arange(100, dtype=np.float32), np.zeros(1, np.float32))
    checkpoints.save(tmp_path / "trial-00", owner, progress)
    path = next((tmp_path / "trial-00").iterdir())
    names = files_of(path)
    assert len(names) > 5
    for name in names:
        content = (path / name).read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            altered = bytearray(content)
            altered[place] ^= 4
            (path / name).write_bytes(altered)
            with pytest.raises(checkpoints.Damaged, match="its checksum differs"):
                checkpoints.read(path)
        (path / name).write_bytes(content)
    assert checkpoints.read(path)[0] == owner


# Repair


def report(run):
    """Makes the report as it was, in place of figures that take seconds."""
    (run / "report.html").write_bytes(b"<html>")
    return ["report.html"]


def lost(run):
    return [line.replace(f"{run}/", "") for line in repair.repair(run, report)]


def test_what_has_a_witness_is_made_again(run, whole):
    for name in ("report.html", "pairs.jsonl"):
        cut(run / name)
    assert lost(run) == []
    assert found(run) == []
    assert all((run / name).read_bytes() == (whole / name).read_bytes() for name in files_of(whole))


@pytest.mark.parametrize("change", [cut, os.unlink])
def test_a_manifest_of_a_run_that_goes_on_is_made_again(begun, tmp_path, change):
    run = shutil.copytree(begun, tmp_path / "run")
    change(run / manifest.NAME)
    assert lost(run) == []
    assert not manifest.finished(run)
    assert manifest.load(run).files.keys() >= {"config.json", "left_out.csv", "chosen/trial-03/cycle-02.csv"}
    assert found(run) == []


@pytest.mark.parametrize("change", [cut, os.unlink])
def test_a_manifest_is_made_again_where_all_else_is_right(run, whole, change):
    change(run / manifest.NAME)
    assert lost(run) == []
    assert (run / manifest.NAME).read_bytes() == (whole / manifest.NAME).read_bytes()
    cut(run / "summary.csv")
    change(run / manifest.NAME)
    assert [line.split(":")[0] for line in lost(run)] == ["summary.csv", manifest.NAME]


def test_a_line_without_a_witness_is_named_with_what_is_lost(run):
    path = run / "cycles.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"accuracy": 0.5', b'"accuracy": 0.9'))
    before = {name: (run / name).read_bytes() for name in files_of(run)}
    first, *others = lost(run)
    assert first.startswith("cycles.jsonl:1: damaged (its checksum differs); trial 3, cycle 1: accuracy, ")
    assert [line[:14] for line in others if line.startswith("cycles.jsonl:")][:3] == [
        f"cycles.jsonl:{number}" for number in (2, 3, 4)
    ]
    assert {name: (run / name).read_bytes() for name in files_of(run)} == before


def test_seconds_and_selections_that_are_lost_are_named(run):
    longer(run / "timings.jsonl")
    path = selections.path_of(run, 4, 1)
    cut(path)
    problems = lost(run)
    assert problems[0].startswith("timings.jsonl:5: damaged")
    assert "selections/trial-04/cycle-01.npz: damaged" in problems


def test_the_command_names_what_it_made(run, capsys, monkeypatch):
    monkeypatch.setattr("aljax.report.make.report", lambda path, anew: report(path))
    for name in ("report.html", "pairs.jsonl"):
        cut(run / name)
    assert command.main([str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{run}: nothing is wrong with it"
    assert set(said[:-1]) == {
        f"{run / name}: made again" for name in ("pairs.csv", "pairs.jsonl", "report.html")
    }


def test_the_command_ends_with_the_status(run, tmp_path, capsys):
    assert command.main([str(tmp_path / "none")]) == 2
    assert "none: no config.json; accepted: a run directory" in capsys.readouterr().err
    path = run / "timings.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1.0", b"2.0"))
    assert command.main([str(run)]) == 1
    assert "trial 3, cycle 1: the seconds per phase are lost" in capsys.readouterr().out
