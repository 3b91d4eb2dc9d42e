"""The command line: what it refuses, in one line and with exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def launch(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def refusal(run):
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


CASES = {
    "unknown field": (["--config.colour=1"], "config.colour=1"),
    "unknown group": (["--config.train.speed=1"], "config.train.speed=1"),
    "wrong type": (["--config.seed=x"], "config.seed=x"),
    "wrong value": (["--config.budget=500"], "config.budget=500: accepted: less than"),
    "no group": (["--config.train=3"], "config.train=3: a group; accepted: its fields, train.epochs"),
    "--config last": (
        ["--config.budget=500", "--config=configs/digits.py"],
        "config.budget=500: accepted: less",
    ),
    "no such config": (["--config=configs/none.py"], "--config=configs/none.py: no such file"),
    "unknown flag": (["--wrokdir=x"], "wrokdir"),
    "argument": (["digits"], "digits: not a flag"),
    "too few images": (["--config.cycles=20"], "config.subset_size=500: accepted: at most 350"),
    "no such folder": (
        ["--config.dataset.source=folder", "--config.dataset.data_dir=none"],
        "config.dataset.data_dir='none': accepted: a folder that exists",
    ),
    "too many devices": (["--config.devices=64", "--config.train.batch_size=64"], "config.devices=64"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(case, tmp_path):
    arguments, message = CASES[case]
    assert message in refusal(launch(*arguments, f"--workdir={tmp_path / 'run'}"))


@pytest.mark.parametrize(
    ("content", "message"),
    [("1 / 0", "division by zero"), ("x = (", "was never closed"), ("x = 1", "get_config")],
)
def test_a_config_that_is_no_config(tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content)
    line = refusal(launch(f"--config={tmp_path / 'mine.py'}"))
    assert message in line
    assert "mine.py" in line


def test_a_workdir_that_is_no_folder(tmp_path):
    (tmp_path / "run").touch()
    assert "--workdir=" in refusal(launch(f"--workdir={tmp_path / 'run'}"))


def test_help_tells_what_there_is():
    run = launch("--help")
    assert "--workdir" in run.stdout
    assert "--config" in run.stdout


def test_importing_aljax_is_quick_and_brings_no_framework():
    code = "import sys, aljax; print(sorted({'jax', 'tensorflow', 'flax', 'numpy'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.strip() == "[]"
