import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aljax.records import diagnostics, files, manifest, selections, verify
from tests.harness import finished_run


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path)


def found(run):
    return [problem.replace(f"{run}/", "") for problem in verify.problems(run)]


def rewrite(path, number, **changes):
    lines, _ = files.read_lines(path)
    lines[number - 1] |= changes
    path.write_bytes(b"".join(map(files.encoded, lines)))


def reselect(run, **changes):
    path = selections.path_of(run, 3, 2)
    selections.save(path, selections.load(path)._replace(**changes))


def test_nothing_is_wrong(run):
    assert found(run) == []


def test_an_unfinished_run_is_not_wrong(run):
    lines = (run / "cycles.jsonl").read_bytes().splitlines(keepends=True)
    (run / "cycles.jsonl").write_bytes(b"".join(lines[:3]))
    for name in ("summary.json", "manifest.json"):
        assert f"{name}: there, though 3 cycles are not the whole run" in found(run)
    (run / "summary.json").unlink()
    manifest.begin(run)
    half = "checkpoints/trial-04/cycle-02-attempt-0-epoch-0001-0123456789abcdef.orbax-checkpoint-tmp"
    (run / half).mkdir(parents=True)
    assert found(run) == []


def regroup(run):
    path = diagnostics.path_of(run, 3, 2)
    kept = diagnostics.unpacked(path)
    files.write(path, diagnostics.packed(kept._replace(group=kept.group[::-1])))


DAMAGE = {
    "config": (lambda run: (run / "config.json").write_text("{"), "config.json: "),
    "a field": (
        lambda run: (run / "config.json").write_text(
            (run / "config.json").read_text().replace('"budget": 4', '"budget": 10')
        ),
        "config.json: config.budget=10: accepted: less than",
    ),
    "a line": (
        lambda run: rewrite(run / "cycles.jsonl", 2, cycle=1),
        "cycles.jsonl:2: is of trial 3, cycle 1",
    ),
    "half a line": (
        lambda run: (run / "cycles.jsonl").write_bytes((run / "cycles.jsonl").read_bytes()[:-9]),
        "cycles.jsonl:4: half-written",
    ),
    "overlap": (lambda run: rewrite(run / "cycles.jsonl", 2, overlap=9), "cycles.jsonl:2: overlap is 9, and"),
    "C": (
        lambda run: rewrite(run / "cycles.jsonl", 4, C=0.9),
        "cycles.jsonl:4: C is 0.9, and the selections",
    ),
    "accuracy": (
        lambda run: rewrite(run / "cycles.jsonl", 1, accuracy=None),
        "cycles.jsonl:1: accuracy is None",
    ),
    "a metric": (
        lambda run: (run / "config.json").write_text(
            (run / "config.json").read_text().replace('"metrics": []', '"metrics": ["ece"]')
        ),
        "cycles.jsonl:1: lacks ece, which config.metrics asks for",
    ),
    "labeled": (lambda run: rewrite(run / "cycles.jsonl", 2, labeled=5), "cycles.jsonl:2: labeled is 5, and"),
    "timings": (lambda run: (run / "timings.jsonl").unlink(), "timings.jsonl: 0 lines for 4 complete cycles"),
    "diagnostics": (
        lambda run: (run / "diagnostics.jsonl").unlink(),
        "diagnostics.jsonl: 0 lines for 4 complete cycles",
    ),
    "classes": (
        lambda run: rewrite(run / "diagnostics.jsonl", 3, classes={"pool": [10], "uncertainty": [4]}),
        "diagnostics.jsonl:3: the classes of diversity do not add up to 4 images",
    ),
    "no gallery": (
        lambda run: diagnostics.path_of(run, 3, 2).unlink(),
        "gallery/trial-03/cycle-02.npz: missing",
    ),
    "a cut gallery": (
        lambda run: diagnostics.path_of(run, 3, 2).write_bytes(b"PK"),
        "gallery/trial-03/cycle-02.npz: damaged",
    ),
    "another gallery": (
        regroup,
        "gallery/trial-03/cycle-02.npz: is of other selections",
    ),
    "other labels": (
        lambda run: rewrite(
            run / "diagnostics.jsonl", 2, classes={"pool": [0, 0, 10], "uncertainty": [4], "diversity": [4]}
        ),
        "gallery/trial-03/cycle-02.npz: its labels are not those of diagnostics.jsonl:2",
    ),
    "no lines": (
        lambda run: (run / "cycles.jsonl").write_bytes(b""),
        "timings.jsonl: 4 lines for 0 complete",
    ),
    "no cycles": (lambda run: (run / "cycles.jsonl").unlink(), "cycles.jsonl: missing"),
    "no selections": (
        lambda run: selections.path_of(run, 4, 1).unlink(),
        "selections/trial-04/cycle-01.npz: missing",
    ),
    "cut selections": (
        lambda run: selections.path_of(run, 4, 1).write_bytes(b"PK"),
        "selections/trial-04/cycle-01.npz: damaged",
    ),
    "a repeat": (
        lambda run: reselect(run, diversity=np.zeros(4, np.int32)),
        "cycle-02.npz: the diversity selection is not 4 different images",
    ),
    "from outside": (
        lambda run: reselect(run, diversity=np.arange(200, 204, dtype=np.int32)),
        "cycle-02.npz: 4 images of the diversity selection are not in the sub-pool",
    ),
    "labeled before": (
        lambda run: reselect(run, subset=selections.load(selections.path_of(run, 3, 1)).subset),
        "cycle-02.npz: 4 images of the sub-pool were labeled before",
    ),
    "other scores": (
        lambda run: reselect(run, scores=np.zeros(10, np.float32)),
        "cycles.jsonl:2: selections_sha256 is ",
    ),
    "scores": (
        lambda run: reselect(run, scores=np.full(10, np.nan, np.float32)),
        "cycle-02.npz: the scores are not 10 finite numbers",
    ),
    "summary": (lambda run: (run / "summary.csv").write_text("cycle\n"), "summary.csv: is not what"),
    "no manifest": (manifest.withdraw, "manifest.json: missing"),
    "a changed manifest": (
        lambda run: (run / "manifest.json").write_bytes(
            (run / "manifest.json").read_bytes().replace(b"config", b"conflg")
        ),
        "manifest.json: damaged (its checksum differs)",
    ),
    "an unlisted file": (
        lambda run: files.write(run / "selections" / "trial-09" / "cycle-01.npz", b""),
        "selections/trial-09/cycle-01.npz: is not listed in manifest.json",
    ),
    "a folder for a file": (
        lambda run: ((run / "summary.csv").unlink(), (run / "summary.csv").mkdir()),
        "summary.csv: is not a regular file",
    ),
    "a word of the config": (
        lambda run: (run / "config.json").write_text(
            (run / "config.json").read_text().replace('"1 x cpu"', '"1 x gpu"')
        ),
        "config.json: is not what manifest.json lists",
    ),
    "no summary": (lambda run: (run / "summary.json").unlink(), "summary.json: missing"),
    "a checkpoint": (
        lambda run: (run / "checkpoints/trial-03/cycle-02-attempt-0-epoch-0001-0123456789abcdef").mkdir(
            parents=True
        ),
        "cdef: damaged",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_wrong_is_said(run, case):
    damage, message = DAMAGE[case]
    damage(run)
    problems = found(run)
    assert any(message in problem for problem in problems), problems


def test_the_command(run):
    def command(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        run = subprocess.run(
            [sys.executable, "-m", "aljax.records", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        return run.returncode, run.stdout, run.stderr

    status, output, _ = command("verify", str(run))
    assert (status, output) == (0, f"{run}: 4 complete cycles, and nothing wrong with them\n")
    rewrite(run / "cycles.jsonl", 2, overlap=9)
    status, output, _ = command("verify", str(run))
    assert status == 1
    assert "cycles.jsonl:2: overlap is 9" in output
    assert command("verify", str(run / "none"))[0] == 2
    assert command("check", str(run))[0] == 2
    status, output, errors = command("--help")
    assert (status, errors) == (0, "")
    assert "verify" in output


def test_verifying_and_reporting_import_nothing_that_makes_runs(run):
    """Nor jax, nor orbax, as there is no checkpoint to read."""
    makers = {"jax", "flax", "optax", "orbax", "tensorflow", "aljax.experiment", "aljax.training"}
    for command in ("aljax.records verify", "aljax.report"):
        module, *rest = command.split()
        code = (
            f"import runpy, sys; sys.argv = {[module, *rest, str(run)]}\n"
            f"try:\n  runpy.run_module({module!r}, run_name='__main__')\n"
            "except SystemExit as end:\n  print(end.code)\n"
            "print(*sys.modules)"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        status, modules = done.stdout.splitlines()[-2:]
        assert status == "0", done.stdout + done.stderr
        assert not makers & set(modules.split()), command
