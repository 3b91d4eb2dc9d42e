"""The layers of imports, and what importing aljax brings along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ("tests.forked", "tests.harness", "tests.networks")  # what tests have in common
FRAMEWORKS = {"jax", "numpy", "flax", "optax", "orbax", "sklearn", "matplotlib", "torch", "tensorflow"}


def imported(code):
    """Returns which frameworks are imported once the code has run."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return (FRAMEWORKS | {"tensorflow_datasets", "tensorboardX"}) & set(run.stdout.split())


def test_rooms_import_only_those_below_them():
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout


def test_tests_do_not_import_tests_and_only_the_benchmarks_own_imports_benchmarks():
    for path in (ROOT / "tests").rglob("*.py"):
        imports = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("from ")]
        assert not any(name.startswith("tests.") and name not in SHARED for name in imports), path
        if path.parent.name != "benchmarks":
            assert not any(name.startswith("benchmarks") for name in imports), path


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import aljax", set()),
        ("import aljax.cli.run", set()),
        ("import aljax; aljax.agreement", {"numpy"}),
        ("import aljax; aljax.kcenter.k_center_greedy", {"jax", "numpy"}),
        ("import aljax.data.sources", {"numpy"}),
    ],
)
def test_importing_is_quick(code, expected):
    assert imported(code) == expected


@pytest.mark.parametrize("code", ["import aljax.records.verify", "import aljax.report.make"])
def test_what_reads_a_run_trains_nothing(code):
    assert not imported(code) & {"flax", "optax", "orbax", "tensorflow", "torch", "tensorboardX"}


def test_a_study_imports_no_tensorflow_and_no_torch():
    brought = imported("import aljax.experiment")
    assert not brought & {"tensorflow", "tensorflow_datasets", "torch", "tensorboardX", "matplotlib"}
