"""The command line of a study: what it refuses, in one line and with exit status 2; its help."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aljax
from aljax.config import FIELDS

ROOT = Path(__file__).parents[2]


def launch(*arguments, cwd=None, home=None, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **({"HOME": str(home)} if home else {}), **environment},
    )


def refusal(run):
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


CASES = {
    "unknown field": (["--config.colour=1"], "config.colour=1: unknown field; accepted: seed"),
    "unknown group": (["--config.train.speed=1"], "config.train.speed=1: unknown field"),
    "misspelled field": (["--config.train.epoch=1"], "did you mean config.train.epochs?"),
    "field without its group": (["--config.epochs=1"], "did you mean config.train.epochs?"),
    "field without config": (
        ["--epochs=10"],
        "--epochs=10: unknown flag; did you mean --config.train.epochs=10?",
    ),
    "wrong type": (["--config.seed=x"], "config.seed=x: accepted: a whole number from 0"),
    "nothing": (["--config.seed="], "config.seed=: accepted: a whole number from 0"),
    "neither true nor false": (
        ["--config.warm_start=maybe"],
        "config.warm_start=maybe: accepted: True or False",
    ),
    "half a tuple": (["--config.compare=('margin'"], "config.compare=('margin': accepted: two or more"),
    "wrong value": (["--config.budget=500"], "config.budget=500: accepted: less than"),
    "no group": (["--config.train=3"], "config.train=3: a group; accepted: its fields, train.epochs"),
    "--config last": (
        ["--config.budget=500", "--config=configs/digits.py"],
        "config.budget=500: accepted: less",
    ),
    "no such config": (["--config=configs/none.py"], "--config=configs/none.py: no such file"),
    "a config's name alone": (["--config=cifar10"], "did you mean 'configs/cifar10.py'?"),
    "a folder": (["--config=configs"], "--config=configs: is a folder; accepted: a Python file"),
    "no Python": (
        ["--config=README.md"],
        "--config=README.md: is no file of Python; accepted: a Python file",
    ),
    "a misspelled config": (["--config=configs/digts.py"], "no such file; did you mean 'configs/digits.py'?"),
    "a name near none": (["--config=nope.py"], "--config=nope.py: no such file; accepted: a Python file"),
    "a field that the data set does not read": (
        ["--config.dataset.data_dir=none"],
        "config.dataset.data_dir='none': accepted: nothing with config.dataset.source='embedded', which",
    ),
    "too large a number": (
        ["--config.train.learning_rate=1e300"],
        "config.train.learning_rate=1e+300: accepted: a finite float32 above 0",
    ),
    "a module that none can be": (
        ["--config.uncertainty=mine.py:closest:x"],
        "config.uncertainty='mine.py:closest:x': there is no module mine.py:closest; accepted: one of",
    ),
    "a config without its flag": (["configs/cifar10.py"], "did you mean --config=configs/cifar10.py?"),
    "unknown flag": (["--wrokdir=x"], "--wrokdir=x: unknown flag; did you mean '--workdir'?"),
    "argument": (["digits"], "digits: not a flag"),
    "too many cycles": (["--config.cycles=40"], "config.cycles=40: accepted: at most 17, as each labels 50"),
    "misspelled strategy": (
        ["--config.uncertainty=entopy"],
        "did you mean 'entropy'?; accepted: one of",
    ),
    "another spelling": (
        ["--config.diversity=coreset"],
        "did you mean 'core_set'?; accepted: one of",
    ),
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
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 / 0", "division by zero"),
        ("x = (", "was never closed"),
        ("x = 1", "has no get_config()"),
        ("", "has no get"),
    ],
)
def test_a_config_that_is_no_config(tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content)
    line = refusal(launch(f"--config={tmp_path / 'mine.py'}"))
    assert message in line
    assert "mine.py" in line


def test_a_workdir_that_is_no_folder(tmp_path):
    (tmp_path / "run").touch()
    assert "--workdir=" in refusal(launch(f"--workdir={tmp_path / 'run'}"))
    assert "--workdir='': accepted: a folder" in refusal(launch("--workdir="))


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_field_with_its_value_in_the_config(flag):
    run = launch("--config=configs/cifar10_fast.py", flag)
    assert run.returncode == 0
    for name in FIELDS:
        assert f"--config.{name}=" in run.stdout
    assert "--config.train.epochs=100\n" in run.stdout


def test_the_version():
    run = launch("--version")
    assert (run.returncode, run.stdout) == (0, f"aljax {aljax.__version__}\n")


def test_a_strategy_s_file_without_its_function(tmp_path):
    (tmp_path / "mine.py").write_text("def closest(key, view, budget): ...")
    line = refusal(launch(f"--config.uncertainty={tmp_path / 'mine.py'}", cwd=tmp_path))
    assert f"did you mean '{tmp_path / 'mine.py'}:closest'?" in line


@pytest.mark.skipif(importlib.util.find_spec("kubernetes") is not None, reason="kubernetes is installed")
def test_what_jax_lacks_to_find_its_place_is_said_in_the_line(tmp_path):
    given = ("--distributed", f"--workdir={tmp_path / 'run'}")
    assert "--distributed: JAX does not start (" in refusal(launch(*given))
    line = refusal(launch(*given, KUBERNETES_SERVICE_HOST="127.0.0.1"))
    assert "the `kubernetes` package is not installed" in line
    assert line.endswith("elsewhere --coordinator, --num_processes and --process_id\n")
    assert not (tmp_path / "run").exists()


def test_a_home_folder_is_found(tmp_path):
    (tmp_path / "mine.py").write_text((ROOT / "configs" / "digits.py").read_text())
    run = launch("--config=~/mine.py", "--config.budget=600", home=tmp_path)
    assert "config.budget=600" in refusal(run)
    run = launch("--config.cycles=18", "--workdir=~/run", home=tmp_path)
    assert "config.cycles=18" in refusal(run)
    assert not (ROOT / "~").exists()
