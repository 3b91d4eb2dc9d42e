"""CONTRIBUTING's recipes, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = re.compile(
    r"^In (?P<new>a new file )?`(?P<path>[^`]+)`(?:, (?P<how>in|before) `(?P<table>\w+)`)?:\n\n"
    r"(?P<code>(?:    .*\n|\n)+)",
    re.MULTILINE,
)


def recipes():
    return list(RECIPE.finditer((ROOT / "CONTRIBUTING.md").read_text()))


def follow(recipe, root):
    """Writes the new file, or adds the lines to the table (imports at the top) or before it."""
    path, code = root / recipe["path"], textwrap.dedent(recipe["code"]).strip() + "\n"
    if recipe["new"]:
        assert not path.exists()
        path.write_text(code)
        return
    text = path.read_text()
    imports = "".join(line + "\n" for line in code.splitlines() if line.startswith("from "))
    rest = code.removeprefix(imports)
    table = re.search(rf"^{recipe['table']}\b.*[{{\[(]$", text, re.MULTILINE)
    assert table, f"{recipe['path']} has no table {recipe['table']}"
    at = table.end() + 1 if recipe["how"] == "in" else table.start()
    indented = textwrap.indent(rest, "    ") if recipe["how"] == "in" else rest + "\n\n"
    text = text[:at] + indented + text[at:]
    first = re.search(r"^(?:from|import) ", text, re.MULTILINE)
    path.write_text(text[: first.start()] + imports + text[first.start() :])


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "aljax", root / "aljax", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in recipes():
        follow(recipe, root)
    return root


def run(root, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "aljax", *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "JAX_NUM_CPU_DEVICES": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_recipe_adds_a_file_and_a_line_or_a_line_alone():
    touched = [recipe["path"] for recipe in recipes()]
    assert len(touched) == 11
    assert len(set(touched)) == 9


def test_a_new_field_is_in_the_help(extended):
    assert "--config.train.patience=0" in run(extended, "run", "--help")


def test_what_the_recipes_add_runs_together(extended):
    run(
        extended,
        "run",
        "--config.dataset.source=stripes",
        "--config.dataset.name=stripes",
        "--config.model.name=pebble",
        "--config.train.optimizer=lion",
        "--config.train.learning_rate=0.001",
        "--config.train.min_steps=0",
        "--config.train.epochs=2",
        "--config.uncertainty=loudest",
        "--config.trials=1",
        "--config.cycles=2",
        "--config.budget=10",
        "--config.subset_size=50",
        "--workdir=run",
    )
    assert (extended / "run" / "figures" / "losses.svg").exists()
    assert 'id="figure-losses"' in (extended / "run" / "report.html").read_text()
    assert '"uncertainty": "loudest"' in (extended / "run" / "cycles.jsonl").read_text()
