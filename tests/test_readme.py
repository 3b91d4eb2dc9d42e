"""README is true to the code: its map, and the commands and files that it names."""

import ast
import re
from pathlib import Path

from aljax.config import FIELDS, studies

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def map_of_the_code():
    """Returns a line for each file of aljax: its path, and the first line of its docstring."""
    files = [path for path in sorted((ROOT / "aljax").rglob("*.py")) if not path.is_symlink()]
    files = [path for path in files if path.relative_to(ROOT).parts[1] != "configs"]
    lines = []
    for path in files:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        lines.append(f"    {path.relative_to(ROOT / 'aljax').as_posix():32} {docstring.splitlines()[0]}")
    return "\n".join(lines)


def test_the_map_of_the_code_has_a_line_for_each_file():
    """Where a file came, went or has another docstring: put the expected text into README."""
    assert map_of_the_code() in README


def test_fields_that_are_named_exist():
    named = re.findall(r"config\.([a-z_]+(?:\.[a-z_]+)?)\b(?!\()", README)
    groups = {name.partition(".")[0] for name in FIELDS if "." in name}
    unknown = {name for name in named if name not in FIELDS and name not in groups}
    assert unknown <= {"json", "py"}


def test_configs_that_are_named_exist_and_all_are_named():
    named = set(re.findall(r"configs/(\w+)\.py", README))
    assert named <= set(studies.names())
    for name in studies.names():
        assert f"`{name}`" in README, name


def test_links_lead_to_files():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
